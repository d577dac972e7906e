package matrix

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/test/servers"
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Getenv("MATRIX") == "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "matrix")
		if err == nil {
			defer os.RemoveAll(dir)
			err = build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// TestMatrix copies from every release to every release. MATRIX=1 runs all;
// MATRIX_SOURCE and MATRIX_TARGET name the releases to take, and
// MATRIX_FEATURE the kind of data, to look into one of them. MATRIX_ADVANCED is
// more of the replicator's [advanced]: "rebuild_above_bytes = 1" writes all
// values as commands.
func TestMatrix(t *testing.T) {
	if os.Getenv("MATRIX") == "" {
		t.Skip("NOT RUN: takes minutes and fetches servers; set MATRIX=1 (make matrix)")
	}
	var results report
	t.Cleanup(func() { t.Log("\n" + results.markdown()) })
	for _, source := range choice("MATRIX_SOURCE") {
		for _, target := range choice("MATRIX_TARGET") {
			t.Run(source+" to "+target, func(t *testing.T) {
				results.pair(t, source, target, 0, 0)
			})
		}
	}
}

// TestClusterTarget copies into a cluster.
func TestClusterTarget(t *testing.T) {
	if os.Getenv("MATRIX") == "" {
		t.Skip("NOT RUN: takes minutes and fetches servers; set MATRIX=1 (make matrix)")
	}
	var results report
	t.Cleanup(func() { t.Log("\n" + results.markdown()) })
	for _, p := range [][2]string{{"redis-7.0", "redis-8.0"}, {"valkey-9.1", "valkey-9.1"}, {"redis-7.0", "redis-6.0"}} {
		t.Run(p[0]+" to "+p[1], func(t *testing.T) { results.pair(t, p[0], p[1], 0, 3) })
	}
}

// TestClusterSource copies from a cluster's node, whose snapshot says more
// than another one's: each product notes sizes of slots in its own way.
func TestClusterSource(t *testing.T) {
	if os.Getenv("MATRIX") == "" {
		t.Skip("NOT RUN: takes minutes and fetches servers; set MATRIX=1 (make matrix)")
	}
	var results report
	t.Cleanup(func() { t.Log("\n" + results.markdown()) })
	for _, name := range []string{"redis-7.0", "redis-8.0", "valkey-8.1", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) { results.pair(t, name, name, 1, 0) })
	}
}

func choice(variable string) []string {
	if v := os.Getenv(variable); v != "" {
		return strings.Split(v, ",")
	}
	return servers.Names()
}

// pair runs one source against one target and notes what happened. With
// masters an end is a cluster; all keys of the source are on its first node.
func (r *report) pair(t *testing.T, source, target string, sourceMasters, targetMasters int) {
	p := &pairing{report: r, upward: upward(source, target)}
	r.pairs = append(r.pairs, p)
	p.source, p.target = source, target
	if sourceMasters > 0 {
		p.source += " cluster"
	}
	if targetMasters > 0 {
		p.target += " cluster"
	}
	p.missing = "not run"
	src := startEnd(t, servers.Get(t, source), sourceMasters)
	dst := startEnd(t, servers.Get(t, target), targetMasters)
	p.own = startReplica(t, src)
	p.dst = dst
	p.missing = ""
	p.run(t, src, dst)
	for _, o := range p.outcomes {
		if why := o.unexpected(p); why != "" {
			t.Errorf("%s, %s: %s: %s", o.feature.name, o.stage, why, o)
		}
	}
}

// upward says that everything the source holds can be held by the target: a
// newer or the same release of the same product, or a Valkey for what Redis
// was when Valkey left it.
func upward(source, target string) bool {
	s, t := slices.Index(servers.Names(), source), slices.Index(servers.Names(), target)
	valkey := func(name string) bool { return strings.HasPrefix(name, "valkey") }
	if valkey(source) == valkey(target) {
		return s <= t
	}
	return valkey(target) && (source == "redis-6.0" || source == "redis-7.0")
}

// pairing is one source and one target.
type pairing struct {
	report         *report
	source, target string
	upward         bool
	dst            *end
	missing        string // why it was not run
	own            *end   // a replica of the source, of its own release
	outcomes       []outcome
	likeOwn        []string // differences that the source's own replica has too
}

// stages of a copy.
const (
	snapshotStage = "snapshot"
	diskStage     = "snapshot from disk"
	streamStage   = "stream"
)

// run tries everything at once, and kind by kind when that does not work.
func (p *pairing) run(t *testing.T, src, dst *end) {
	var possible []feature
	for _, f := range all() {
		if only := os.Getenv("MATRIX_FEATURE"); only != "" && only != f.name {
			continue
		}
		if (f.needs == nil || f.needs(src)) && !(f.dbs && (src.cluster || dst.cluster)) {
			possible = append(possible, f)
		}
	}
	whole := possible
	if diffs, err := p.copy(t, src, dst, whole, copyOptions{snapshot: true, stream: true}); err != nil || len(diffs) > 0 {
		whole = p.apart(t, src, dst, possible)
	} else {
		for _, f := range possible {
			if !f.live {
				p.note(f, snapshotStage, nil, nil)
			}
			p.note(f, streamStage, nil, nil)
		}
	}
	diffs, err := p.copy(t, src, dst, whole, copyOptions{snapshot: true, stream: true, disk: true, lfu: true})
	p.note(feature{name: fmt.Sprintf("%d kinds together", len(whole))}, diskStage, diffs, err)
}

// apart runs each kind of data alone and returns those that are equal.
func (p *pairing) apart(t *testing.T, src, dst *end, possible []feature) []feature {
	var equal []feature
	for _, f := range possible {
		ok := true
		for _, o := range []copyOptions{{snapshot: true}, {stream: true}} {
			stage := streamStage
			if o.snapshot {
				if stage = snapshotStage; f.live {
					continue
				}
			}
			diffs, err := p.copy(t, src, dst, []feature{f}, o)
			p.note(f, stage, diffs, err)
			ok = ok && err == nil && len(diffs) == 0
		}
		if ok {
			equal = append(equal, f)
		}
	}
	return equal
}

// copyOptions say what one run of the replicator is to carry.
type copyOptions struct {
	snapshot bool // the data is there before it starts
	stream   bool // the data, or more of it, comes while it runs
	disk     bool // the source writes its snapshot to a file first
	lfu      bool // both count accesses
}

// copy empties both ends, writes, copies and compares. The error is the
// replicator's; differences are returned as such.
func (p *pairing) copy(t *testing.T, src, dst *end, features []feature, o copyOptions) ([]string, error) {
	t.Helper()
	src.clear(t)
	dst.clear(t)
	dst.unfence(t)
	src.everywhere(t, "CONFIG", "SET", "repl-diskless-sync", yesNo(!o.disk))
	policy := "allkeys-lru"
	if o.lfu {
		policy = "allkeys-lfu"
	}
	src.everywhere(t, "CONFIG", "SET", "maxmemory-policy", policy)
	dst.everywhere(t, "CONFIG", "SET", "maxmemory-policy", policy)
	if o.snapshot {
		for _, f := range features {
			if !f.live {
				f.write(&writer{t: t, e: src, prefix: "snap:" + f.name + ":"})
			}
		}
	}
	r := startReplicator(t, src.addrs[0], dst.kind(), dst.addrs[0])
	defer r.kill()
	if err := r.await(func(s wire.Status) bool { return s.Complete }); err != nil {
		return nil, err
	}
	if diffs := p.compare(t, src, dst, measure{access: true}); len(diffs) > 0 {
		return diffs, r.stop()
	}
	p.own.copyAgain(t, src)
	for _, f := range features {
		w := &writer{t: t, e: src, prefix: "snap:" + f.name + ":"}
		if o.snapshot && f.touch != nil {
			f.touch(w)
		}
		if o.stream {
			live := &writer{t: t, e: src, prefix: "live:" + f.name + ":", stream: true}
			if (src.cluster || dst.cluster) && f.live {
				live.prefix = "live:{" + f.name + "}:" // several keys per command
			}
			f.write(live)
			if f.touch != nil {
				f.touch(live)
			}
		}
	}
	end := src.offset(t)
	if err := r.await(func(s wire.Status) bool { return s.Complete && s.AppliedOffset >= end }); err != nil {
		return nil, err
	}
	if err := r.stop(); err != nil {
		return nil, err
	}
	return p.compare(t, src, dst, measure{seen: 5 * time.Second}), nil
}

// compare reads both ends. What the target has as the source's own replica
// has it is no difference: some commands are replicated by a form that says
// less than what the master did.
func (p *pairing) compare(t *testing.T, src, dst *end, m measure) []string {
	t.Helper()
	if !src.has("PEXPIRETIME") || !dst.has("PEXPIRETIME") {
		m.between = 2 * time.Second
	}
	// DEBUG finds its key on the node that is asked only.
	m.digest = src.binary.Name == dst.binary.Name && len(dst.addrs) == 1
	source, target := contents(t, src), contents(t, dst)
	if !m.access && len(source) == 0 {
		t.Errorf("%s holds nothing: nothing was compared", src.name)
	}
	diffs := difference(source, target, m)
	if len(diffs) == 0 {
		return nil
	}
	p.own.awaitOffset(t, src.offset(t))
	own := contents(t, p.own)
	var rest []string
	for _, d := range diffs {
		if s, o := target[d.key], own[d.key]; s != nil && o != nil && len(o.differs(s, m)) == 0 {
			p.likeOwn = append(p.likeOwn, d.String())
			continue
		}
		rest = append(rest, d.String())
	}
	return rest
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
