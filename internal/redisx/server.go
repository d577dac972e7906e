package redisx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Info holds the fields of INFO.
type Info map[string]string

// Int gives a field as a number; 0 when it is missing or none.
func (i Info) Int(field string) int64 {
	n, err := strconv.ParseInt(i[field], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Version is the version of the server: "7.0.15", or "valkey 8.1.1".
func (i Info) Version() string {
	if v := i["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return i["redis_version"]
}

// Keys adds up the keys of the keyspace section, by database.
func (i Info) Keys() map[int]int64 {
	out := map[int]int64{}
	for field, value := range i {
		db, err := strconv.Atoi(strings.TrimPrefix(field, "db"))
		if err != nil || !strings.HasPrefix(field, "db") {
			continue
		}
		for _, part := range strings.Split(value, ",") {
			if n, ok := strings.CutPrefix(part, "keys="); ok {
				count, err := strconv.ParseInt(n, 10, 64)
				if err == nil && count > 0 {
					out[db] = count
				}
			}
		}
	}
	return out
}

// Info asks for sections of INFO; none means the default ones.
func (c *Client) Info(ctx context.Context, sections ...string) (Info, error) {
	out := Info{}
	if len(sections) == 0 {
		sections = []string{"default"}
	}
	for _, section := range sections { // several at once are known since 7.0 only
		text, err := c.rdb.Info(ctx, section).Result()
		if err != nil {
			return nil, c.wrap("INFO", err)
		}
		maps.Copy(out, fields(text))
	}
	return out, nil
}

// fields reads "name:value" lines.
func fields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if ok && !strings.HasPrefix(name, "#") {
			out[name] = value
		}
	}
	return out
}

// Role is the answer to ROLE.
type Role struct {
	Master   bool
	Sentinel bool
	Offset   int64

	MasterHost string // of a replica
	MasterPort int
	LinkState  string // connect, connecting, sync, connected

	Replicas []Replica // of a master
}

// Replica is a replica as its master lists it.
type Replica struct {
	Host   string
	Port   int
	Offset int64
}

// Role asks a server for its role.
func (c *Client) Role(ctx context.Context) (Role, error) {
	reply, err := c.rdb.Do(ctx, "ROLE").Slice()
	if err != nil {
		return Role{}, c.wrap("ROLE", err)
	}
	role, err := parseRole(reply)
	return role, c.wrap("ROLE", err)
}

func parseRole(reply []any) (Role, error) {
	if len(reply) == 0 {
		return Role{}, errors.New("the answer is empty")
	}
	switch kind := fmt.Sprint(reply[0]); {
	case kind == "sentinel":
		return Role{Sentinel: true}, nil
	case kind == "master" && len(reply) >= 3:
		role := Role{Master: true, Offset: number(reply[1])}
		replicas, _ := reply[2].([]any)
		for _, r := range replicas {
			if f, ok := r.([]any); ok && len(f) >= 3 {
				role.Replicas = append(role.Replicas, Replica{Host: fmt.Sprint(f[0]), Port: int(number(f[1])), Offset: number(f[2])})
			}
		}
		return role, nil
	case kind == "slave" && len(reply) >= 5:
		return Role{
			MasterHost: fmt.Sprint(reply[1]), MasterPort: int(number(reply[2])),
			LinkState: fmt.Sprint(reply[3]), Offset: number(reply[4]),
		}, nil
	default:
		return Role{}, fmt.Errorf("the answer names the role %q in %d fields", kind, len(reply))
	}
}

func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case string:
		parsed, err := strconv.ParseInt(n, 10, 64)
		if err == nil {
			return parsed
		}
	}
	return 0
}

// ClusterNodes is the text of CLUSTER NODES.
func (c *Client) ClusterNodes(ctx context.Context) (string, error) {
	text, err := c.rdb.ClusterNodes(ctx).Result()
	return text, c.wrap("CLUSTER NODES", err)
}

// ClusterMyID is the node's own id.
func (c *Client) ClusterMyID(ctx context.Context) (string, error) {
	id, err := c.rdb.Do(ctx, "CLUSTER", "MYID").Text()
	return id, c.wrap("CLUSTER MYID", err)
}

// ClusterInfo holds the fields of CLUSTER INFO.
func (c *Client) ClusterInfo(ctx context.Context) (Info, error) {
	text, err := c.rdb.ClusterInfo(ctx).Result()
	if err != nil {
		return nil, c.wrap("CLUSTER INFO", err)
	}
	return fields(text), nil
}

// SentinelMaster asks a Sentinel for the address of a master.
func (c *Client) SentinelMaster(ctx context.Context, set string) (host string, port int, err error) {
	const op = "SENTINEL GET-MASTER-ADDR-BY-NAME"
	reply, err := c.rdb.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", set).StringSlice()
	if errors.Is(err, redis.Nil) {
		return "", 0, c.wrap(op, fmt.Errorf("it knows no master set %q", set))
	}
	if err != nil {
		return "", 0, c.wrap(op, err)
	}
	if len(reply) != 2 {
		return "", 0, c.wrap(op, fmt.Errorf("the answer has %d fields, expected 2", len(reply)))
	}
	port, err = strconv.Atoi(reply[1])
	if err != nil {
		return "", 0, c.wrap(op, fmt.Errorf("the port %q is no number", reply[1]))
	}
	return reply[0], port, nil
}

// SentinelQuorum asks a Sentinel whether a failover would be possible; text
// is what it said.
func (c *Client) SentinelQuorum(ctx context.Context, set string) (ok bool, text string, err error) {
	text, err = c.rdb.Do(ctx, "SENTINEL", "CKQUORUM", set).Text()
	var reply redis.Error
	if errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOQUORUM") {
		return false, reply.Error(), nil
	}
	return err == nil, text, c.wrap("SENTINEL CKQUORUM", err)
}

// ConfigGet reads parameters by name or pattern. Servers before 7.0 take one
// at a time.
func (c *Client) ConfigGet(ctx context.Context, names ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		values, err := c.rdb.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, c.wrap("CONFIG GET", err)
		}
		maps.Copy(out, values)
	}
	return out, nil
}

// WhoAmI is the name of the ACL user; "default" on servers without ACLs.
func (c *Client) WhoAmI(ctx context.Context) (string, error) {
	name, err := c.rdb.Do(ctx, "ACL", "WHOAMI").Text()
	if IsUnknownCommand(err) {
		return "default", nil
	}
	return name, c.wrap("ACL WHOAMI", err)
}

// Modules are the names of the loaded modules.
func (c *Client) Modules(ctx context.Context) ([]string, error) {
	reply, err := c.rdb.Do(ctx, "MODULE", "LIST").Slice()
	if err != nil {
		return nil, c.wrap("MODULE LIST", err)
	}
	var out []string
	for _, m := range reply {
		entries, _ := m.([]any)
		for i := 0; i+1 < len(entries); i += 2 {
			if fmt.Sprint(entries[i]) == "name" {
				out = append(out, fmt.Sprint(entries[i+1]))
			}
		}
	}
	return out, nil
}

// DBSize is the number of keys of DB 0.
func (c *Client) DBSize(ctx context.Context) (int64, error) {
	n, err := c.rdb.DBSize(ctx).Result()
	return n, c.wrap("DBSIZE", err)
}

// DialAddr makes a Dialer for a TCP address.
func DialAddr(address string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
}

// MayRun asks the ACL whether a user may run a command, without running it.
// known is false where the server cannot tell: before 7.0, or when the caller
// may not ask.
func (c *Client) MayRun(ctx context.Context, user string, command ...string) (allowed, known bool, err error) {
	args := []any{"ACL", "DRYRUN", user}
	for _, word := range command {
		args = append(args, word)
	}
	text, err := c.rdb.Do(ctx, args...).Text()
	var reply redis.Error
	switch {
	case err == nil:
		// "OK", or the reason as an ordinary answer
		return text == "OK", true, nil
	case errors.As(err, &reply):
		return false, false, nil
	default:
		return false, false, c.wrap("ACL DRYRUN", err)
	}
}

// ConfigRewrite writes the running configuration to the server's file. A
// server that has none, or cannot write it, has written nothing there before
// either: that is no error.
func (c *Client) ConfigRewrite(ctx context.Context) error {
	err := c.rdb.ConfigRewrite(ctx).Err()
	var reply redis.Error
	if errors.As(err, &reply) {
		text := reply.Error()
		if strings.Contains(text, "without a config file") || strings.Contains(text, "Rewriting config file") {
			return nil
		}
	}
	return c.wrap("CONFIG REWRITE", err)
}
