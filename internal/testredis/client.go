package testredis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// replyTimeout bounds the wait for one reply. TEST_REDIS_TIMEOUT, a duration,
// is another bound, for tests with values that take long.
func replyTimeout() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("TEST_REDIS_TIMEOUT")); err == nil {
		return d
	}
	return 30 * time.Second
}

// ErrorReply is an error that the server sent.
type ErrorReply string

func (e ErrorReply) Error() string { return string(e) }

// Client is a plain RESP2 connection. It is not for concurrent use.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
}

// Dial connects and, with a password, authenticates the default user.
func Dial(addr, password string) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, replyTimeout())
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, r: bufio.NewReader(conn)}
	if password == "" {
		return c, nil
	}
	if _, err := c.Do("AUTH", password); err != nil {
		_ = c.Close() // the first error is the one to report
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends one command and returns its reply: string, int64, nil or []any
// (whose members may be ErrorReply too). An error reply is returned as error.
func (c *Client) Do(args ...string) (any, error) {
	replies, err := c.Pipeline(args)
	if err != nil {
		return nil, err
	}
	if e, ok := replies[0].(ErrorReply); ok {
		return nil, e
	}
	return replies[0], nil
}

// Pipeline sends the commands at once and returns one reply for each; error
// replies are among them as ErrorReply.
func (c *Client) Pipeline(commands ...[]string) ([]any, error) {
	var b strings.Builder
	for _, args := range commands {
		fmt.Fprintf(&b, "*%d\r\n", len(args))
		for _, a := range args {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(replyTimeout())); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return nil, err
	}
	replies := make([]any, 0, len(commands))
	for range commands {
		reply, err := c.read()
		if err != nil {
			return nil, err
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

func (c *Client) read() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty reply line")
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+':
		return rest, nil
	case '-':
		return ErrorReply(rest), nil
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		buf := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			return nil, err
		}
		return string(buf[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		list := make([]any, n)
		for i := range list {
			if list[i], err = c.read(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("reply of unknown kind: %q", line)
}

// Do runs one command on the server over a connection that is kept, and fails
// the test on any error.
func (s *Server) Do(t testing.TB, args ...string) any {
	t.Helper()
	reply, err := s.TryDo(args...)
	if err != nil {
		t.Fatalf("redis %s: %s: %v", s.Addr, args[0], err)
	}
	return reply
}

// TryDo is Do that returns the error. After a broken connection the next call
// dials again.
func (s *Server) TryDo(args ...string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		c, err := Dial(s.Addr, s.Password)
		if err != nil {
			return nil, err
		}
		s.client = c
	}
	reply, err := s.client.Do(args...)
	var refused ErrorReply
	if err != nil && !errors.As(err, &refused) {
		_ = s.client.Close() // the first error is the one to report
		s.client = nil
	}
	return reply, err
}

func (s *Server) closeClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		_ = s.client.Close() // the server is going away anyway
		s.client = nil
	}
}
