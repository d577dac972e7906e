package apply

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// outcome is what EXEC answered to a command.
type outcome uint8

const (
	ran     outcome = iota
	failed          // with an error; a script may have written before
	refused         // it did not run, for want of a right
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil, strings.Contains(err.Error(), afterWrite):
		return ran
	case resp.IsCode(err, "NOPERM") && !deniedInScript(err.Error()):
		return refused
	}
	return failed
}

// readBatch reads the answers to MULTI, the queued commands and EXEC.
func (s *Standalone) readBatch(b *batch) error {
	var refused error // an error while queueing: EXEC will not run
	at := -1
	for i := range b.n + 1 {
		if err := resp.SkipReply(s.c.W); err != nil {
			var broken *resp.ReadError
			if errors.As(err, &broken) {
				if unreadable(refused) { // and then it closed the connection
					return s.o.dataError(b.buf, at, refused)
				}
				return err
			}
			if refused == nil {
				refused, at = err, i
			}
		}
	}
	execErr, first, err := s.readExec(b)
	switch {
	case err != nil:
		return err
	case refused != nil && transient(refused):
		return refused
	case refused != nil:
		return s.o.dataError(b.buf, at, refused)
	case execErr != nil && first < 0:
		if transient(execErr) {
			return execErr
		}
		return &DataError{Command: "EXEC", Err: execErr}
	case execErr != nil:
		return s.o.dataError(b.buf, first+1, execErr)
	}
	return nil
}

// readExec reads the answer to EXEC: one reply per command. It returns the
// first error in it that is not harmless, with the index of its command; -1
// when EXEC as a whole was refused, or did nothing (see denied).
func (s *Standalone) readExec(b *batch) (execErr error, first int, err error) {
	n, err := resp.ReadArrayHeader(s.c.W)
	if err != nil {
		var server *resp.ServerError
		if errors.As(err, &server) {
			return err, -1, nil
		}
		return nil, -1, err
	}
	if n != b.n {
		return nil, -1, &resp.ReadError{Err: fmt.Errorf("%w: EXEC of %d commands answered with %d replies", resp.ErrProtocol, b.n, n)}
	}
	watch := b.deadlines
	var last error
	b.ran = b.ran[:0]
	var absents []int
	names := nameCursor{o: &s.o, buf: b.buf, i: -1}
	for i := range n {
		if len(watch) > 0 && watch[0].index() == i {
			r, err := resp.ReadReply(s.c.W)
			if err != nil {
				return nil, -1, &resp.ReadError{Err: err}
			}
			if r.Kind == ':' && r.Int == 0 && !watch[0].careful() || r.Kind == '+' && r.Text == absent {
				absents = append(absents, i)
			}
			err = r.Err()
			if b.ran = append(b.ran, outcomeOf(err)); err != nil && execErr == nil && !harmless(err, nil) {
				execErr, first = err, i
			}
			watch = watch[1:]
			continue
		}
		err := resp.SkipReply(s.c.W)
		b.ran = append(b.ran, outcomeOf(err))
		if last = err; err == nil {
			continue
		}
		var broken *resp.ReadError
		if errors.As(err, &broken) {
			return nil, -1, err
		}
		if execErr == nil && !harmless(err, names.at(i+1)) {
			execErr, first = err, i
		}
	}
	if err := s.pendWatched(b, absents); err != nil {
		return nil, -1, err
	}
	if denied(execErr) && denied(last) && !b.wrote(&s.o) {
		return &resp.ServerError{Code: "NOPERM", Text: execErr.Error()}, -1, nil
	}
	return execErr, first, nil
}

// denied reports whether a command, or a script before it wrote anything, was
// refused because the user has no right. When the user loses the right to
// write between MULTI and EXEC, every write of the batch is refused, the
// checkpoint at its end too; it is done again when the right is back.
func denied(err error) bool {
	return resp.IsCode(err, "NOPERM") || err != nil && deniedInScript(err.Error()) && !strings.Contains(err.Error(), afterWrite)
}

// wrote reports whether EXEC ran any command that may have written.
func (b *batch) wrote(o *Options) bool {
	w := o.commandsOf(b.buf[len(multiCommand):])
	var c resp.Command
	for _, was := range b.ran {
		if resp.ReadCommand(w, &c) != nil {
			return true
		}
		switch class := route.ClassOf(c.Args[0]); {
		case was == refused, class == route.ClassSelect, class == route.ClassPublish:
		case was == ran, class == route.ClassEval && !writesLast(c.Args):
			return true
		}
	}
	return false
}

// writesLast reports whether a script is one of ours of which the only write
// is the last thing that it does: when it fails, nothing is written; or one
// that says itself when it was ended in the middle (see denied).
func writesLast(args [][]byte) bool {
	body := string(args[1])
	return body == deadlineScript || body == guardScript || strings.Contains(body, afterWrite)
}

// nameCursor finds the names of commands in a buffer, each after the one
// before it.
type nameCursor struct {
	o   *Options
	buf []byte
	w   *window.Window
	c   resp.Command
	i   int
}

// at is the name of the i-th command; nil when there is none.
func (n *nameCursor) at(i int) []byte {
	if n.w == nil {
		n.w = n.o.commandsOf(n.buf)
	}
	for n.i < i {
		if n.i++; resp.ReadCommand(n.w, &n.c) != nil {
			n.i = i
			return nil
		}
	}
	return n.c.Args[0]
}
