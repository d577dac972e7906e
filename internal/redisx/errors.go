package redisx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Kind tells errors apart.
type Kind int

// The kinds of Error.
const (
	KindOther       Kind = iota
	KindAuth             // wrong password, or none given where one is needed
	KindPermission       // the user may not run the command (NOPERM)
	KindLoading          // the server loads its data, or waits for its master
	KindReadOnly         // a replica that takes no writes
	KindRefused          // nothing listens on the port
	KindUnreachable      // no answer in time, or the connection broke
	KindNotRedis         // something else answers there, or TLS on one side only
)

// Error is an error of one server.
type Error struct {
	Server string // as Options.Name gave it
	Op     string // the command, without its arguments
	Kind   Kind
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Server, e.Op, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is that of authentication for the kinds that are about it, else
// that of the cause (a dialer may not be allowed to connect).
func (e *Error) ExitCode() int {
	if e.Kind == KindAuth || e.Kind == KindPermission {
		return 12
	}
	var cause interface{ ExitCode() int }
	if errors.As(e.Err, &cause) {
		return cause.ExitCode()
	}
	return 1
}

// Remedy says what to do.
func (e *Error) Remedy() string {
	switch e.Kind {
	case KindAuth:
		return "check that the Secret holds the password that the server runs with (a server takes a new one only after a restart)"
	case KindPermission:
		return "allow the command for this user in the ACL of the server"
	case KindLoading:
		return "wait until the server has loaded its data"
	case KindNotRedis:
		return "check the port, and whether the server speaks TLS"
	default:
		return ""
	}
}

// Is... report the kind of the first *Error in the chain.

// IsAuth reports a refused or missing password.
func IsAuth(err error) bool { return hasKind(err, KindAuth) }

// IsPermission reports a command that the user may not run.
func IsPermission(err error) bool { return hasKind(err, KindPermission) }

// IsLoading reports a server that is not ready yet.
func IsLoading(err error) bool { return hasKind(err, KindLoading) }

// IsReadOnly reports a replica that takes no writes.
func IsReadOnly(err error) bool { return hasKind(err, KindReadOnly) }

// IsRefused reports a port where nothing listens.
func IsRefused(err error) bool { return hasKind(err, KindRefused) }

// IsUnreachable reports that no answer came.
func IsUnreachable(err error) bool { return hasKind(err, KindUnreachable) }

// IsUnknownCommand reports a command that the server does not have.
func IsUnknownCommand(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasPrefix(strings.ToLower(reply.Error()), "err unknown command")
}

func hasKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// refuser is what a dialer's error may implement to say that the port refused
// (a port-forward knows it from a text only).
type refuser interface{ Refused() bool }

func (c *Client) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	return &Error{Server: c.name, Op: op, Kind: classify(err), Err: tidy(err)}
}

func classify(err error) Kind {
	var reply redis.Error
	if errors.As(err, &reply) && !errors.Is(err, redis.Nil) {
		return classifyReply(reply.Error())
	}
	var refused refuser
	if errors.As(err, &refused) {
		if refused.Refused() {
			return KindRefused
		}
		return KindUnreachable
	}
	var netErr net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindRefused
	case strings.Contains(err.Error(), "tls: "), strings.Contains(err.Error(), "x509: "),
		strings.Contains(err.Error(), "redis: can't parse"), strings.Contains(err.Error(), "redis: invalid reply"):
		return KindNotRedis
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return KindUnreachable
	default:
		return KindOther
	}
}

func classifyReply(text string) Kind {
	code, _, _ := strings.Cut(text, " ")
	switch code {
	case "NOAUTH", "WRONGPASS":
		return KindAuth
	case "NOPERM":
		return KindPermission
	case "LOADING", "MASTERDOWN", "BUSY":
		return KindLoading
	case "READONLY":
		return KindReadOnly
	}
	if strings.Contains(text, "invalid password") || strings.Contains(text, "Client sent AUTH") ||
		strings.Contains(text, "AUTH <password> called without any password") {
		return KindAuth // 5.x and older
	}
	if strings.HasPrefix(text, "DENIED") { // protected mode
		return KindAuth
	}
	return KindOther
}

// tidy gives errors of the standard library words that say what happened.
func tidy(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed the connection: %w", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", err)
	default:
		return err
	}
}
