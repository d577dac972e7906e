package redisx

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// DefaultTimeout bounds connecting and each answer.
const DefaultTimeout = 3 * time.Second

// go-redis prints what it also returns; a verb prints an error once.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Dialer makes a connection to the server; go-redis may call it again after
// a connection broke.
type Dialer func(ctx context.Context) (net.Conn, error)

// Options of Open.
type Options struct {
	Name     string // for error texts: "pod redis/redis-a-leader-0"
	Username string // "" is the default user
	Password string // as the Secret holds it
	TLS      *tls.Config
	Timeout  time.Duration // 0 = DefaultTimeout
	PoolSize int           // 0 = 1
}

// Client talks to one server. It may be used concurrently.
type Client struct {
	name     string
	rdb      *redis.Client
	password string
}

// Open connects and authenticates. A password is tried without the line end
// that many Secrets carry, as operators do, and then as it is.
func Open(ctx context.Context, dial Dialer, opts Options) (*Client, error) {
	trimmed := strings.TrimRight(opts.Password, "\r\n")
	c := connect(dial, opts, trimmed)
	err := c.Ping(ctx)
	if IsAuth(err) && trimmed != opts.Password {
		_ = c.Close()
		c = connect(dial, opts, opts.Password)
		err = c.Ping(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func connect(dial Dialer, opts Options, password string) *Client {
	timeout := opts.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	network := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil || opts.TLS == nil {
			return conn, err
		}
		secure := tls.Client(conn, opts.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
	return &Client{
		name:     opts.Name,
		password: password,
		rdb: redis.NewClient(&redis.Options{
			Addr: opts.Name, Dialer: network,
			Username: opts.Username, Password: password,
			// Old servers know no RESP3, and we need nothing of it. The
			// client is to leave no trace beyond its commands.
			Protocol: 2, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			MaxRetries:               -1, DialerRetries: 1, PoolSize: max(1, opts.PoolSize),
			DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: 2 * timeout,
			ContextTimeoutEnabled: true,
		}),
	}
}

// Close ends the connections.
func (c *Client) Close() error { return c.rdb.Close() }

// Name is the name of the server for error texts.
func (c *Client) Name() string { return c.name }

// Password is the one that the server accepted.
func (c *Client) Password() string { return c.password }

// Do runs any command. Its arguments are not shown in errors.
func (c *Client) Do(ctx context.Context, args ...any) (any, error) {
	out, err := c.rdb.Do(ctx, args...).Result()
	op, _ := args[0].(string)
	return out, c.wrap(strings.ToUpper(op), err)
}

// Ping checks the connection and the password.
func (c *Client) Ping(ctx context.Context) error {
	return c.wrap("PING", c.rdb.Ping(ctx).Err())
}
