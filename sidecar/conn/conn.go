// Package conn is one connection to a Redis server: dialled, authenticated,
// and driven either by single commands or by raw pipelined bytes.
package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/window"
)

// Auth is one credential; an empty password means none.
type Auth struct{ Username, Password string }

// Options of a connection.
type Options struct {
	// Auths are tried in order until the server takes one.
	Auths []Auth
	TLS   *tls.Config // nil: plain TCP
	// DialTimeout bounds connecting and authenticating; default 3 s.
	DialTimeout time.Duration
	// Timeout bounds one read or write after that; default 60 s.
	Timeout time.Duration
	// Whole makes Timeout bound a whole Do: a server that gives one byte now
	// and then must not hold up who asks for a small thing.
	Whole  bool
	Window int // start size of the read buffer, default 16 KB
	// MaxReply bounds one reply in bytes; default window.DefaultMax.
	MaxReply int
}

// Conn is a connection. It is used by one goroutine, except that one other
// may write while one reads.
type Conn struct {
	Addr string
	// User is the name that authenticated, "" for the default user.
	User    string
	nc      net.Conn
	W       *window.Window
	timeout time.Duration
	whole   bool
	until   time.Time // end of the Do that is running, with whole
}

// AuthError says that a server does not take our credentials.
type AuthError struct {
	Addr string
	Err  error
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("authentication at %s failed: %v", e.Addr, e.Err)
}
func (e *AuthError) Unwrap() error { return e.Err }

// Dial connects and authenticates.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	o.setDefaults()
	dialCtx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: 15 * time.Second}
	nc, err := d.DialContext(dialCtx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	if o.TLS != nil {
		t := tls.Client(nc, o.TLS)
		if err := t.HandshakeContext(dialCtx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		nc = t
	}
	return Over(nc, addr, o)
}

// Over authenticates on a connection that is there already, and closes it
// when that fails.
func Over(nc net.Conn, addr string, o Options) (*Conn, error) {
	o.setDefaults()
	c := &Conn{Addr: addr, nc: nc, timeout: o.DialTimeout, whole: true}
	c.W = window.New(deadlineReader{c}, o.Window, o.MaxReply)
	if err := c.auth(o.Auths); err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.timeout, c.whole = o.Timeout, o.Whole
	return c, nil
}

func (o *Options) setDefaults() {
	if o.DialTimeout == 0 {
		o.DialTimeout = 3 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 60 * time.Second
	}
	if o.Window == 0 {
		o.Window = 16 << 10
	}
}

func (c *Conn) auth(auths []Auth) error {
	var last error
	for _, a := range auths {
		if a.Password == "" && a.Username == "" {
			// No authentication: the connection goes on as it began.
			return nil
		}
		args := []string{"AUTH", a.Password}
		if a.Username != "" {
			args = []string{"AUTH", a.Username, a.Password}
		}
		_, err := c.Do(args...)
		if err == nil {
			c.User = a.Username
			return nil
		}
		var se *resp.ServerError
		if !errors.As(err, &se) {
			return fmt.Errorf("authenticating at %s: %w", c.Addr, err)
		}
		last = err
	}
	if last == nil {
		return nil
	}
	// "AUTH called without any password configured": the server asks for none.
	if strings.Contains(last.Error(), "without any password configured") {
		return nil
	}
	return &AuthError{Addr: c.Addr, Err: last}
}

type deadlineReader struct{ c *Conn }

func (r deadlineReader) Read(p []byte) (int, error) {
	if r.c.timeout > 0 {
		at := time.Now().Add(r.c.timeout)
		if u := r.c.until; !u.IsZero() && u.Before(at) {
			at = u
		}
		if err := r.c.nc.SetReadDeadline(at); err != nil {
			return 0, err
		}
	}
	return r.c.nc.Read(p)
}

// SetTimeout bounds each later read and write; 0 is no bound.
func (c *Conn) SetTimeout(d time.Duration) { c.timeout = d }

// Close closes the connection. What it has not sent is not sent any more: a
// batch that is sent again elsewhere must not arrive twice.
func (c *Conn) Close() error {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // best effort; the fence ends what is left
	}
	return c.nc.Close()
}

// Reader returns the raw byte source, for a caller that reads it in a
// goroutine of its own after draining W.
func (c *Conn) Reader() io.Reader { return deadlineReader{c} }

// Write sends raw bytes.
func (c *Conn) Write(p []byte) (int, error) {
	if c.timeout > 0 {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.nc.Write(p)
	if err != nil {
		return n, fmt.Errorf("writing to %s: %w", c.Addr, err)
	}
	return n, nil
}

// WriteBuffers sends several buffers with one system call where possible.
func (c *Conn) WriteBuffers(bufs *net.Buffers) error {
	if c.timeout > 0 {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
	}
	if _, err := bufs.WriteTo(c.nc); err != nil {
		return fmt.Errorf("writing to %s: %w", c.Addr, err)
	}
	return nil
}

// Do sends one command and reads its reply. An error reply is returned as
// *resp.ServerError; any other error means that the connection is broken.
func (c *Conn) Do(args ...string) (resp.Reply, error) {
	if _, err := c.Write(resp.AppendCommand(nil, args...)); err != nil {
		return resp.Reply{}, err
	}
	if c.whole {
		c.until = time.Now().Add(c.timeout)
	}
	r, err := resp.ReadReply(c.W)
	c.until = time.Time{}
	if err != nil {
		return resp.Reply{}, fmt.Errorf("reading the answer of %s to %s: %w", c.Addr, args[0], err)
	}
	if err := r.Err(); err != nil {
		return r, fmt.Errorf("%s at %s: %w", args[0], c.Addr, err)
	}
	return r, nil
}

// Info returns the fields of INFO sections.
func (c *Conn) Info(section string) (map[string]string, error) {
	r, err := c.Do("INFO", section)
	if err != nil {
		return nil, err
	}
	return Fields(r.Text), nil
}

// Fields reads the text of INFO.
func Fields(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[k] = v
		}
	}
	return fields
}

// Role returns the first word of ROLE and, for a replica, whether its link to
// the master is up.
func (c *Conn) Role() (role string, linkUp bool, err error) {
	r, err := c.Do("ROLE")
	if err != nil {
		return "", false, err
	}
	if len(r.Elems) == 0 {
		return "", false, fmt.Errorf("ROLE at %s: %w: empty answer", c.Addr, resp.ErrProtocol)
	}
	role = r.Elems[0].Text
	if role == "slave" && len(r.Elems) >= 4 {
		linkUp = r.Elems[3].Text == "connected"
	}
	return role, linkUp, nil
}
