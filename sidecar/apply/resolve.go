package apply

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
)

// NoMasterError says that no address of the target leads to a master now.
type NoMasterError struct{ Err error }

func (e *NoMasterError) Error() string {
	return fmt.Sprintf("no master of the target can be reached: %v", e.Err)
}
func (e *NoMasterError) Unwrap() error { return e.Err }

// dialMaster connects to the server that can be written to: the one that the
// Sentinels name, or the first address that says so of itself. What Sentinel
// says is checked with ROLE, since it may lag behind.
func (o *Options) dialMaster(ctx context.Context) (*conn.Conn, error) {
	var errs []error
	addrs := o.Addrs
	if len(o.Sentinels) > 0 {
		named, err := o.askSentinels(ctx)
		if err != nil {
			errs = append(errs, err)
		}
		addrs = named
	}
	for _, a := range addrs {
		c, err := conn.Dial(ctx, a, o.Conn)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		role, _, err := c.Role()
		if err == nil && role == "master" {
			return c, nil
		}
		_ = c.Close()
		if err == nil {
			err = fmt.Errorf("%s is a %s", a, role)
		}
		errs = append(errs, err)
	}
	return nil, &NoMasterError{errors.Join(errs...)}
}

// askSentinels returns the addresses that Sentinels name as master, the one
// that most of them name first.
func (o *Options) askSentinels(ctx context.Context) ([]string, error) {
	votes := map[string]int{}
	var order []string
	var errs []error
	for _, s := range o.Sentinels {
		addr, err := o.askSentinel(ctx, s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if votes[addr]++; votes[addr] == 1 {
			order = append(order, addr)
		}
	}
	for i := range order {
		if votes[order[i]] > votes[order[0]] {
			order[0], order[i] = order[i], order[0]
		}
	}
	if len(order) == 0 {
		return nil, errors.Join(errs...)
	}
	return order, nil
}

func (o *Options) askSentinel(ctx context.Context, sentinel string) (string, error) {
	c, err := conn.Dial(ctx, sentinel, o.Sentinel)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	r, err := c.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", o.MasterName)
	if err != nil {
		return "", err
	}
	if len(r.Elems) != 2 {
		return "", fmt.Errorf("the Sentinel at %s knows no master set %q", sentinel, o.MasterName)
	}
	return net.JoinHostPort(r.Elems[0].Text, r.Elems[1].Text), nil
}
