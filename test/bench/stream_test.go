package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// workload is what is piped into the source while the target follows.
type workload struct {
	name  string
	write func(c *commands, n int)
}

const hundred = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

var (
	sets = workload{"SET", func(c *commands, n int) {
		for i := range n {
			key := "key:" + strconv.Itoa(i)
			c.add(c.node(key), "SET", key, hundred)
		}
	}}
	incrs = workload{"INCR", func(c *commands, n int) {
		for i := range n {
			key := "counter:" + strconv.Itoa(i%100_000)
			c.add(c.node(key), "INCR", key)
		}
	}}
	blocks = workload{"MULTI of 10 SET", func(c *commands, n int) {
		for i := range n {
			if i%10 == 0 {
				c.add(0, "MULTI")
			}
			c.add(0, "SET", "key:"+strconv.Itoa(i), hundred)
			if i%10 == 9 || i == n-1 {
				c.add(0, "EXEC")
			}
		}
	}}
)

func (l workload) files(t *testing.T, nodes, n int) []string {
	t.Helper()
	c := newCommands(t, nodes)
	l.write(c, n)
	return c.close(t)
}

// streamStandalone follows one server with another one.
func (w *world) streamStandalone(t *testing.T) {
	for _, l := range []workload{sets, incrs, blocks} {
		name := fmt.Sprintf("streaming, %d x %s", w.n, l.name)
		if !wanted(name) {
			continue
		}
		files := l.files(t, 1, w.n)
		rows := []row{w.followNative(files), w.follow(ours, w.binary, files, one, false)}
		if w.peer != "" {
			rows = append(rows, w.follow("PEER", w.peer, files, one, false))
		}
		limits := goal{against: rows[0].name, ratio: 1.3}
		if l.name == sets.name {
			limits.ratio = 1.15
		}
		w.measure(t, name, rows, limits, goal{cpu: time.Duration(4 * float64(w.n) / 3_000_000 * float64(time.Second))})
	}
}

// streamCluster follows one server with a cluster; the reference is the same
// commands piped to its nodes.
func (w *world) streamCluster(t *testing.T) {
	for _, l := range []workload{sets, incrs} {
		name := fmt.Sprintf("streaming into a cluster of 3, %d x %s", w.n, l.name)
		waiting := name + ", all of it waiting at the source"
		if !wanted(name) && !wanted(waiting) {
			continue
		}
		files := l.files(t, 1, w.n)
		divided := l.files(t, 3, w.n)
		plain := row{name: "the same by a redis-cli --pipe per node", measure: func(t *testing.T) usage {
			target := three(t)
			defer target.end()
			return charge(t, func() usage { return pipe(t, byAddr(target, divided)) }, target)
		}}
		limits := goal{against: plain.name, ratio: 1.3}
		if l.name == incrs.name {
			limits.ratio = 1.7
		}
		// Beside the goal: what the source allows, whatever follows it.
		rows := []row{plain, w.followNative(files), w.follow(ours, w.binary, files, three, false)}
		if w.peer != "" {
			rows = append(rows, w.follow("PEER", w.peer, files, three, false))
		}
		w.measure(t, name, rows, limits)
		// The same with the source's work done before: what the replicator and
		// the cluster take alone.
		w.measure(t, waiting, []row{plain, w.follow(ours, w.binary, files, three, true)}, limits)
	}
}

// followNative pipes into a server with a replica and waits for the replica.
func (w *world) followNative(files []string) row {
	return row{name: "native replica", measure: func(t *testing.T) usage {
		source := standalone(t, sourceArgs...)
		defer source.end()
		m := source.masters[0]
		r := testredis.StartReplica(t, m)
		defer r.Kill()
		servers := []side{source, {masters: []*testredis.Server{r}}}
		used := serverCPU(t, servers)
		begin := time.Now()
		pipe(t, byAddr(source, files))
		want := offset(t, m)
		await(t, "the replica", time.Millisecond, func() (bool, error) {
			n, err := strconv.ParseInt(info(t, r, "replication", "slave_repl_offset"), 10, 64)
			return n >= want, err
		})
		return usage{wall: time.Since(begin), servers: serverCPU(t, servers) - used}
	}}
}

// follow pipes into a server that a replicator, ours or a peer, copies while
// in sync, and waits until the last command arrived on every node. With behind
// the replicator stands still until the source has taken everything, and only
// the time after that counts.
func (w *world) follow(name, binary string, files []string, to func(*testing.T) side, behind bool) row {
	return row{name: name, measure: func(t *testing.T) usage {
		source := standalone(t, sourceArgs...)
		defer source.end()
		target := to(t)
		defer target.end()
		target.fence(t)
		m := source.masters[0]
		m.Do(t, "SET", "before", "1")
		l := source.links(target)[0]
		var p *process
		if name == ours {
			p = startReplicator(t, binary, l)
			defer p.stop()
			inSync(t, []*process{p})
		} else {
			p = startPeer(t, binary, l)
			defer p.stop()
			arrive(t, p, target, []string{"before"})
			time.Sleep(3 * time.Second) // a peer does not say when it is in sync
		}
		before := p.used(t)
		w.profile(t, p)
		if behind {
			p.signal(t, syscall.SIGSTOP)
		}
		used := serverCPU(t, []side{source, target})
		begin := time.Now()
		pipe(t, byAddr(source, files))
		ends := lastKeys(len(target.masters))
		for _, k := range ends {
			m.Do(t, "SET", k, "1")
		}
		if behind {
			used = serverCPU(t, []side{source, target})
			begin = time.Now()
			p.signal(t, syscall.SIGCONT)
		}
		arrive(t, p, target, ends)
		u := sum(t, []*process{p}, begin)
		u.cpu -= before.cpu
		u.servers = serverCPU(t, []side{source, target}) - used
		same(t, source, target)
		return u
	}}
}

// lastKeys has a key for each node.
func lastKeys(nodes int) []string {
	keys := make([]string, nodes)
	for i := 0; slices.Contains(keys, ""); i++ {
		key := "end:" + strconv.Itoa(i)
		keys[nodeOf(key, nodes)] = key
	}
	return keys
}

// arrive waits until the keys are there, one at each node or all at one.
func arrive(t *testing.T, p *process, target side, keys []string) {
	t.Helper()
	await(t, "the last command", time.Millisecond, func() (bool, error) {
		for _, k := range keys {
			if target.masters[nodeOf(k, len(target.masters))].Do(t, "EXISTS", k) == int64(0) {
				return false, p.failed()
			}
		}
		return true, nil
	})
}

const samples = 300

// latency writes a key and polls the target until it shows.
func (w *world) latency(t *testing.T) {
	const p50, p99 = "idle latency, p50", "idle latency, p99"
	if !wanted(p50) && !wanted(p99) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	target := standalone(t)
	defer target.end()
	target.fence(t)
	replica := testredis.StartReplica(t, source.masters[0])
	defer replica.Kill()
	p := startReplicator(t, w.binary, source.links(target)[0])
	defer p.stop()
	inSync(t, []*process{p})
	for _, q := range []struct {
		name string
		part int // percent
	}{{p50, 50}, {p99, 99}} {
		w.measure(t, q.name, []row{
			{"native replica", func(t *testing.T) usage {
				return usage{wall: delays(t, source.masters[0], replica)[samples*q.part/100]}
			}},
			{ours, func(t *testing.T) usage {
				return usage{wall: delays(t, source.masters[0], target.masters[0])[samples*q.part/100]}
			}},
		}, goal{against: "native replica", ratio: 2})
	}
}

// delays returns how long each of the writes took to show, sorted.
func delays(t *testing.T, from, to *testredis.Server) []time.Duration {
	t.Helper()
	var all []time.Duration
	for i := range samples {
		key := fmt.Sprintf("latency:%d:%d", i, time.Now().UnixNano())
		begin := time.Now()
		from.Do(t, "SET", key, "1")
		for to.Do(t, "EXISTS", key) == int64(0) {
			if time.Since(begin) > patience {
				t.Fatal("the write does not show")
			}
		}
		all = append(all, time.Since(begin))
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(all)
	return all
}

// idle measures the CPU of a replicator that has nothing to do.
func (w *world) idle(t *testing.T) {
	const name, length = "idle for 30 s", 30 * time.Second
	if !wanted(name) {
		return
	}
	source, target := standalone(t, sourceArgs...), standalone(t)
	defer source.end()
	defer target.end()
	target.fence(t)
	p := startReplicator(t, w.binary, source.links(target)[0])
	defer p.stop()
	inSync(t, []*process{p})
	w.measure(t, name, []row{{ours, func(t *testing.T) usage {
		before := p.used(t)
		time.Sleep(length)
		u := p.used(t)
		u.wall, u.cpu = length, u.cpu-before.cpu
		return u
	}}}, goal{cpu: length / 500, rss: 25 << 20})
}

// wanted tells whether BENCH_ONLY names the scenario.
func wanted(name string) bool { return only().MatchString(name) }

// short is a name for a file.
func short(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, name)
}
