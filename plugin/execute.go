package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/klog/v2"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// Execute runs the plugin and gives the exit code of the process.
func Execute(o *Options, args []string) int {
	ctx, stop := interruptible(o.ErrOut)
	defer stop()
	defer klog.Flush()

	root := NewRootCommand(o)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return fault.CodeOK
	}
	if errors.Is(context.Cause(ctx), errInterrupted) && fault.ExitCode(err) == fault.CodeError {
		err = fault.Wrap(fault.CodeInterrupted, fault.Remedy(err), err)
	}
	if fault.ExitCode(err) == fault.CodeError && kube.IsAuth(err) {
		err = fault.Wrap(fault.CodeAuth, fault.Remedy(err), err)
	}
	printError(o.ErrOut, err, wantsJSON(cmd))
	return fault.ExitCode(err)
}

// interruptible gives a context that the first SIGINT, SIGTERM or SIGHUP ends, so
// that a verb stops at its next safe point. The second one ends the process, and
// a hook that runs.
func interruptible(errOut io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		if _, open := <-signals; !open {
			return
		}
		// Who read our output may be gone with the terminal: that must not end us
		// on the way back.
		signal.Ignore(syscall.SIGPIPE)
		fmt.Fprintln(errOut, "interrupted: stopping at the next safe point, interrupt again to stop at once")
		cancel(errInterrupted)
		if _, open := <-signals; open {
			currentHook.kill()
			os.Exit(fault.CodeInterrupted) //nolint:forbidigo // the user does not want to wait for anybody
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

// silentError carries an exit code for a verb that has said everything in its
// result already.
type silentError struct{ code int }

func (e silentError) Error() string { return fmt.Sprintf("exit status %d", e.code) }
func (e silentError) ExitCode() int { return e.code }

func wantsJSON(cmd *cobra.Command) bool {
	flag := cmd.Flags().Lookup("output")
	return flag != nil && flag.Value.String() == "json"
}

// printError prints the one error of a run, with its remedy. Error texts may
// hold what a server said, so control characters are escaped.
func printError(w io.Writer, err error, asJSON bool) {
	var silent silentError
	if errors.As(err, &silent) {
		return
	}
	remedy := fault.Remedy(err)
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		// The stream is standard error: there is nowhere left to report to.
		_ = enc.Encode(struct {
			Error    string `json:"error"`
			Remedy   string `json:"remedy,omitempty"`
			ExitCode int    `json:"exitCode"`
		}{err.Error(), remedy, fault.ExitCode(err)})
		return
	}
	_ = printers.WriteEscaped(w, "error: "+strings.TrimSuffix(err.Error(), "."))
	fmt.Fprintln(w)
	if remedy != "" {
		_ = printers.WriteEscaped(w, "  try: "+remedy)
		fmt.Fprintln(w)
	}
}
