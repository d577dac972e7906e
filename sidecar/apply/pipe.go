package apply

import (
	"context"
	"errors"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// pipe sends many commands and reads their replies behind them, for a value
// that is written as commands. It keeps no more than one part in memory.
type pipe struct {
	ctx context.Context //nolint:containedctx // lives as long as the one call that made it
	c   *conn.Conn
	buf []byte
	n   int   // commands that end in buf
	due []int // replies due to the parts sent
	err error // first error that the server answered with
}

const pipeDepth = 3 // parts whose replies are not read

// Write takes a part of a command.
func (p *pipe) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	if len(p.buf) < BatchBytes {
		return len(b), nil
	}
	return len(b), p.send()
}

// End follows the last part of a command.
func (p *pipe) End() error {
	p.n++
	for len(p.due) > pipeDepth {
		if err := p.read(); err != nil {
			return err
		}
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
	}
	return p.err
}

// command is a whole one.
func (p *pipe) command(args ...string) error {
	if _, err := p.Write(resp.AppendCommand(nil, args...)); err != nil {
		return err
	}
	return p.End()
}

func (p *pipe) send() error {
	if len(p.buf) == 0 {
		return nil
	}
	_, err := p.c.Write(p.buf)
	p.buf = p.buf[:0]
	if p.n > 0 {
		p.due = append(p.due, p.n)
		p.n = 0
	}
	return err
}

// read reads the replies to the oldest part.
func (p *pipe) read() error {
	for range p.due[0] {
		err := resp.SkipReply(p.c.W)
		if err != nil && errors.As(err, new(*resp.ReadError)) {
			return err
		}
		if p.err == nil {
			p.err = err
		}
	}
	p.due = p.due[:copy(p.due, p.due[1:])]
	return nil
}

// finish sends what is left of whole commands, and reads all replies. It
// returns the first error in them.
func (p *pipe) finish() error {
	if err := p.send(); err != nil {
		return err
	}
	for len(p.due) > 0 {
		if err := p.read(); err != nil {
			return err
		}
	}
	return p.err
}
