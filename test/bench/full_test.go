package bench

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// fullStrings copies plain strings of 100 bytes from one server to another.
func (w *world) fullStrings(t *testing.T) {
	name := fmt.Sprintf("full sync, %d strings of 100 bytes", w.n)
	if !wanted(name) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	source.masters[0].Do(t, "DEBUG", "POPULATE", strconv.Itoa(w.n), "key", "100")
	asRestore, asSet := restores(t, source.masters, 1, false), restores(t, source.masters, 1, true)
	rows := []row{
		pipeRow("RESTORE by redis-cli --pipe", source, one, asRestore),
		pipeRow("SET by redis-cli --pipe", source, one, asSet),
		w.native(source),
		w.snapshotRow(source),
		w.ours(source, one),
	}
	rows = append(rows, w.peers(source, one)...)
	scaled := float64(w.n) / 3_000_000
	w.measure(t, name, rows,
		goal{against: rows[0].name, ratio: 1.15}, goal{against: rows[2].name, ratio: 1},
		goal{cpu: time.Duration(3.0 * scaled * float64(time.Second)), rss: 48 << 20})
}

// fullMixed copies collections.
func (w *world) fullMixed(t *testing.T) {
	w.fullCollections(t, "full sync, mixed collections", tenToThousand)
	w.fullCollections(t, "full sync, small collections", mostlySmall)
}

func (w *world) fullCollections(t *testing.T, name string, length elements) {
	if !wanted(name) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	files, _ := mixed(t, 1, w.mixedBytes(), length)
	pipe(t, byAddr(source, files))
	asRestore := restores(t, source.masters, 1, false)
	rows := []row{pipeRow("RESTORE by redis-cli --pipe", source, one, asRestore), w.native(source), w.snapshotRow(source), w.ours(source, one)}
	rows = append(rows, w.peers(source, one)...)
	w.measure(t, name, rows, goal{against: rows[0].name, ratio: 1.15}, goal{against: rows[1].name, ratio: 1}, goal{rss: 48 << 20})
}

// mixedBytes is 1 GB at the default size.
func (w *world) mixedBytes() int64 { return int64(w.n) * 333 }

// fullShards copies the three shards of a cluster into one server.
func (w *world) fullShards(t *testing.T) {
	const name = "full sync, 3 shards into 1 server"
	if !wanted(name) {
		return
	}
	source := threeNodes(t, sourceArgs...)
	defer source.end()
	files, _ := mixed(t, 3, w.mixedBytes(), tenToThousand)
	pipe(t, byAddr(source, files))
	var perShard []string
	for _, m := range source.masters {
		perShard = append(perShard, restores(t, []*testredis.Server{m}, 1, false)...)
	}
	parallel := row{name: "RESTORE by 3 redis-cli --pipe", measure: func(t *testing.T) usage {
		target := one(t)
		defer target.end()
		return charge(t, func() usage { return pipeAll(t, target.masters[0].Addr, perShard) }, target)
	}}
	w.measure(t, name, []row{parallel, w.snapshotRow(source), w.ours(source, one)}, goal{against: parallel.name, ratio: 1.25})
}

// fullToCluster copies one server into a cluster of three nodes.
func (w *world) fullToCluster(t *testing.T) {
	const name = "full sync, 1 server into a cluster of 3"
	if !wanted(name) {
		return
	}
	source := standalone(t, sourceArgs...)
	defer source.end()
	files, _ := mixed(t, 1, w.mixedBytes(), tenToThousand)
	pipe(t, byAddr(source, files))
	parallel := pipeRow("RESTORE by a redis-cli --pipe per node", source, three, restores(t, source.masters, 3, false))
	rows := append([]row{parallel, w.snapshotRow(source), w.ours(source, three)}, w.peers(source, three)...)
	w.measure(t, name, rows, goal{against: parallel.name, ratio: 1.25})
}

func one(t *testing.T) side   { t.Helper(); return standalone(t) }
func three(t *testing.T) side { t.Helper(); return threeNodes(t) }

func byAddr(s side, files []string) map[string]string {
	m := map[string]string{}
	for i, f := range files {
		m[s.masters[i].Addr] = f
	}
	return m
}

// pipeRow pipes commands into a new target.
func pipeRow(name string, source side, target func(*testing.T) side, files []string) row {
	return row{name: name, measure: func(t *testing.T) usage {
		target := target(t)
		defer target.end()
		u := charge(t, func() usage { return pipe(t, byAddr(target, files)) }, target)
		same(t, source, target)
		return u
	}}
}

// native is a replica of the source.
func (w *world) native(source side) row {
	return row{name: "native replica", measure: func(t *testing.T) usage {
		m := source.masters[0]
		r := testredis.Start(t)
		defer r.Kill()
		return charge(t, func() usage {
			begin := time.Now()
			r.Do(t, "REPLICAOF", "127.0.0.1", strconv.Itoa(m.Port))
			await(t, "the replica's link", 10*time.Millisecond, func() (bool, error) {
				return info(t, r, "replication", "master_link_status") == "up", nil
			})
			return usage{wall: time.Since(begin)}
		}, source, side{masters: []*testredis.Server{r}})
	}}
}

// ours copies with a replicator for each shard.
func (w *world) ours(source side, target func(*testing.T) side) row {
	return row{name: ours, measure: func(t *testing.T) usage {
		target := target(t)
		defer target.end()
		target.fence(t)
		var all []*process
		u := charge(t, func() usage {
			begin := time.Now()
			for _, l := range source.links(target) {
				all = append(all, startReplicator(t, w.binary, l))
			}
			w.profile(t, all[0])
			return complete(t, all, begin)
		}, source, target)
		same(t, source, target)
		for _, p := range all {
			p.stop()
		}
		return u
	}}
}

// peers is the row of PEER, or nothing.
func (w *world) peers(source side, target func(*testing.T) side) []row {
	if w.peer == "" {
		return nil
	}
	return []row{{name: "PEER", measure: func(t *testing.T) usage {
		target := target(t)
		defer target.end()
		want := source.keys(t)
		begin := time.Now()
		p := startPeer(t, w.peer, source.links(target)[0])
		defer p.stop()
		await(t, "the peer's copy", 20*time.Millisecond, func() (bool, error) {
			var n int64
			for _, m := range target.masters {
				n += m.Do(t, "DBSIZE").(int64)
			}
			return n >= want, p.failed()
		})
		u := sum(t, []*process{p}, begin)
		same(t, source, target)
		return u
	}}}
}
