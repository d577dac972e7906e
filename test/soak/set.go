package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// shape of one side.
type shape string

const (
	standalone shape = "standalone" // one server; it keeps its data over a restart
	sentinel   shape = "sentinel"   // a master and two replicas, three Sentinels
	cluster    shape = "cluster"    // three masters and a replica each
)

const masterName = "mymaster"

// member is one server of a replication set.
type member struct {
	*testredis.Server
	proxy *proxy
	down  atomic.Bool
	ports []func() // give back the ports of the dead server
}

// busOffset is the distance of a cluster node's bus port from its port.
const busOffset = 10000

// die kills the server. Its ports are kept for its return: other tests may
// run on the same machine.
func (m *member) die() {
	m.down.Store(true)
	m.Kill()
	m.keepPorts()
}

// keepPorts makes up to a second of attempts: connections of the dead server
// may hold its port.
func (m *member) keepPorts() {
	for _, port := range []int{m.Port, m.Port + busOffset} {
		for range 20 {
			if release, err := reserve(port); err == nil {
				m.ports = append(m.ports, release)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// restart starts the server again on its ports.
func (m *member) restart(t *testing.T, args ...string) {
	for _, release := range m.ports {
		release()
	}
	m.ports = nil
	m.Restart(t, args...)
	m.down.Store(false)
}

// info returns one field of INFO replication.
func (m *member) info(fields ...string) ([]string, error) {
	reply, err := m.TryDo("INFO", "replication")
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	out := make([]string, len(fields))
	for line := range strings.Lines(text) {
		for i, f := range fields {
			if v, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), f+":"); ok {
				out[i] = v
			}
		}
	}
	return out, nil
}

// set is a master and its replicas: all of a side, or one shard of a cluster.
type set struct {
	members []*member
}

// side is one end of the copy.
type side struct {
	name      string // "source" or "target"
	shape     shape
	sets      []*set
	sentinels []*member
}

func (s *side) members() []*member {
	var all []*member
	for _, set := range s.sets {
		all = append(all, set.members...)
	}
	return all
}

// alive returns the members that are not down.
func (s *set) alive() []*member {
	var list []*member
	for _, m := range s.members {
		if !m.down.Load() {
			list = append(list, m)
		}
	}
	return list
}

// errNotYet is wrapped by everything that waiting may mend.
var errNotYet = errors.New("not yet")

func notYet(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotYet, fmt.Sprintf(format, args...))
}

// master finds the one master of a set, and makes sure that those who decide
// (the nodes of the cluster, the Sentinels) agree.
func (s *side) master(set *set) (*member, error) {
	var found *member
	for _, m := range set.alive() {
		role, err := m.info("role")
		if err != nil {
			return nil, notYet("%s: %v", m.Addr, err)
		}
		if role[0] != "master" {
			continue
		}
		if found != nil {
			return nil, notYet("%s and %s are both masters", found.Addr, m.Addr)
		}
		found = m
	}
	if found == nil {
		return nil, notYet("no master among the %d servers that are up", len(set.alive()))
	}
	switch s.shape {
	case cluster:
		return found, s.clusterAgrees(found)
	case sentinel:
		return found, s.sentinelsAgree(found)
	}
	return found, nil
}

func (s *side) clusterAgrees(master *member) error {
	for _, m := range s.members() {
		if m.down.Load() {
			continue
		}
		reply, err := m.TryDo("CLUSTER", "NODES")
		if err != nil {
			return notYet("%s: %v", m.Addr, err)
		}
		text, _ := reply.(string)
		nodes, err := route.ParseNodes(text, m.Addr)
		if err != nil {
			return err
		}
		covered, agrees := 0, false
		for i := range nodes {
			n := &nodes[i]
			if n.Is("master") && n.Usable() && !n.Is("fail?") {
				covered += n.Slots.Count()
				agrees = agrees || n.Addr == master.Addr && n.Slots.Count() > 0
			}
		}
		if !agrees || covered != route.SlotCount {
			return notYet("%s sees %d of %d slots covered, %s as a master with slots: %v", m.Addr, covered, route.SlotCount, master.Addr, agrees)
		}
	}
	return nil
}

func (s *side) sentinelsAgree(master *member) error {
	for _, w := range s.sentinels {
		reply, err := w.TryDo("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
		if err != nil {
			return notYet("Sentinel %s: %v", w.Addr, err)
		}
		addr, _ := reply.([]any)
		if len(addr) != 2 || addr[1] != strconv.Itoa(master.Port) {
			return notYet("Sentinel %s names %v as the master, not %s", w.Addr, addr, master.Addr)
		}
	}
	return nil
}

// whole checks that every member of a set is up and has what its master has.
func (s *side) whole(set *set) error {
	if n := len(set.members) - len(set.alive()); n > 0 {
		return notYet("%d servers are down", n)
	}
	master, err := s.master(set)
	if err != nil {
		return err
	}
	at, err := offset(master)
	if err != nil {
		return err
	}
	for _, m := range set.members {
		if m == master {
			continue
		}
		f, err := m.info("role", "master_port", "master_link_status", "slave_repl_offset")
		if err != nil {
			return notYet("%s: %v", m.Addr, err)
		}
		own, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil || f[0] != "slave" || f[1] != strconv.Itoa(master.Port) || f[2] != "up" || own < at {
			return notYet("%s is a %s of port %s, its link is %q, its offset %s of %d", m.Addr, f[0], f[1], f[2], f[3], at)
		}
	}
	for _, w := range s.sentinels {
		if err := seesReplicas(w, len(set.members)-1); err != nil {
			return err
		}
	}
	return nil
}

// seesReplicas checks that a Sentinel has so many replicas to choose from, and
// calls the master up.
func seesReplicas(w *member, want int) error {
	reply, err := w.TryDo("SENTINEL", "REPLICAS", masterName)
	if err != nil {
		return notYet("Sentinel %s: %v", w.Addr, err)
	}
	list, _ := reply.([]any)
	good := 0
	for _, r := range list {
		f := fields(r)
		if f["flags"] == "slave" && f["master-link-status"] == "ok" {
			good++
		}
	}
	if good != want {
		return notYet("Sentinel %s sees %d healthy replicas, not %d", w.Addr, good, want)
	}
	reply, err = w.TryDo("SENTINEL", "MASTER", masterName)
	if err != nil {
		return notYet("Sentinel %s: %v", w.Addr, err)
	}
	if f := fields(reply); f["flags"] != "master" || f["num-other-sentinels"] != "2" {
		return notYet("Sentinel %s: the master is %q, %s other Sentinels", w.Addr, f["flags"], f["num-other-sentinels"])
	}
	return nil
}

// fields reads a flat list of names and values.
func fields(reply any) map[string]string {
	list, _ := reply.([]any)
	f := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		f[name], _ = list[i+1].(string)
	}
	return f
}

func offset(m *member) (int64, error) {
	f, err := m.info("master_repl_offset")
	if err != nil {
		return 0, notYet("%s: %v", m.Addr, err)
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: master_repl_offset: %w", m.Addr, err)
	}
	return n, nil
}

// until repeats ask until it gives no error that waiting may mend.
func until(ctx context.Context, timeout time.Duration, what string, ask func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if !errors.Is(err, errNotYet) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v it is still not so that %s: %w", timeout, what, err)
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// pause sleeps; false means that the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
