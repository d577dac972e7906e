package sidecar

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/psync"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rdb"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// SourceError wraps what went wrong with the source's connection or stream:
// the session is made again.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// StopError is a reason of the data to stop that no waiting mends.
type StopError struct{ Reason string }

func (e *StopError) Error() string { return e.Reason }

func stopf(format string, args ...any) error { return &StopError{fmt.Sprintf(format, args...)} }

// isSourceError reports whether attaching again may help.
func isSourceError(err error) bool {
	var (
		source  *SourceError
		refused *psync.RefusedError
		changed *psync.SlotsChangedError
		auth    *conn.AuthError
		server  *resp.ServerError
		format  *rdb.FormatError
		stop    *StopError
	)
	if errors.As(err, &stop) || errors.As(err, &format) {
		return false
	}
	return errors.As(err, &source) || errors.As(err, &refused) || errors.As(err, &changed) || errors.As(err, &auth) ||
		errors.As(err, &server) || conn.Broken(err) || errors.Is(err, psync.ErrNoSource) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, resp.ErrProtocol) || errors.Is(err, window.ErrLine)
}
