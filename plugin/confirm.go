package plugin

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"strings"

	"golang.org/x/term"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // a file descriptor
}

// confirm asks on a terminal. Elsewhere nobody can answer: the command must
// say --yes.
func (o *Options) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(o.In) {
		return fault.Refuse("add --yes", "standard input is no terminal, so nobody can confirm")
	}
	fmt.Fprintf(o.ErrOut, "%s [y/N] ", question)
	answer, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil {
		return fault.Refuse("", "not confirmed: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fault.Refuse("", "not confirmed, nothing was done")
}

// whoami names the person for the journal.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		return name + "@" + host
	}
	return name
}
