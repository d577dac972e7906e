package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

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
	var master *conn.Conn
	var masterRun string
	for _, a := range addrs {
		c, err := conn.Dial(ctx, a, o.Conn)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		run, err := masterRunID(c)
		switch {
		case err == nil && master == nil:
			if master, masterRun = c, run; len(o.Sentinels) > 0 {
				return master, nil // theirs is the decision
			}
			continue
		case err == nil && run != masterRun:
			err = fmt.Errorf("%s and %s both say that they are the master", master.Addr, a)
			_, _ = c.Close(), master.Close()
			return nil, &NoMasterError{err}
		}
		_ = c.Close()
		errs = append(errs, err)
	}
	if master != nil {
		return master, nil
	}
	return nil, &NoMasterError{errors.Join(errs...)}
}

// masterRunID is the run id of a master; an error for anything else.
func masterRunID(c *conn.Conn) (string, error) {
	role, _, err := c.Role()
	if err != nil {
		return "", err
	}
	if role != "master" {
		return "", fmt.Errorf("%s is a %s", c.Addr, role)
	}
	info, err := c.Info("server")
	return info["run_id"], err
}

// dialOthers reaches the other servers of the target, as far as they are
// known and answer, so that connections of a replicator before us that wait
// there are ended too.
func (o *Options) dialOthers(ctx context.Context, master string) []*conn.Conn {
	addrs := map[string]bool{}
	for _, a := range o.Addrs {
		addrs[a] = true
	}
	for _, s := range o.Sentinels {
		for _, a := range o.replicasOf(ctx, s) {
			addrs[a] = true
		}
	}
	delete(addrs, master)
	var list []*conn.Conn
	for a := range addrs {
		quick := o.Conn
		quick.DialTimeout, quick.Timeout = time.Second, 5*time.Second
		if c, err := conn.Dial(ctx, a, quick); err == nil {
			list = append(list, c)
		} else {
			o.Log.Debug("a server of the target cannot be reached", "address", a, "error", err.Error())
		}
	}
	return list
}

// replicasOf asks a Sentinel for the replicas that it takes for alive.
func (o *Options) replicasOf(ctx context.Context, sentinel string) []string {
	c, err := conn.Dial(ctx, sentinel, o.Sentinel)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	r, err := c.Do("SENTINEL", "SLAVES", o.MasterName)
	if err != nil {
		return nil
	}
	var addrs []string
	for _, e := range r.Elems {
		f := map[string]string{}
		for i := 0; i+1 < len(e.Elems); i += 2 {
			f[e.Elems[i].Text] = e.Elems[i+1].Text
		}
		if !strings.Contains(f["flags"], "down") && f["port"] != "0" {
			addrs = append(addrs, net.JoinHostPort(f["ip"], f["port"]))
		}
	}
	return addrs
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
