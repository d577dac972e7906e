package compare

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/redis-sync/kubectl-redis-sync/internal/rescue"
	"github.com/redis-sync/kubectl-redis-sync/internal/verify"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/config"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/marks"
)

// Divergence is what the source of a sync.toml has and its target lacks, or has
// otherwise: the names of keys, which are kept in files where they are many.
type Divergence struct {
	// Result is what the comparison found.
	Result *wire.VerifyResult

	source masters
	names  *marks.Set
}

// FindDivergence compares all data of two sides between which nothing is
// copied, and keeps the names of the keys that WriteFile then reads. dir is for
// its files.
func FindDivergence(ctx context.Context, cfg *config.Config, opts Options, dir string) (*Divergence, error) {
	source, err := openSource(ctx, cfg)
	if err != nil {
		return nil, err
	}
	target, err := openTarget(ctx, cfg, opts.Log)
	if err != nil {
		source.close()
		return nil, err
	}
	defer target.close()
	d := &Divergence{source: source, names: marks.New(dir)}
	opts.Mode = wire.VerifyFull
	var mu sync.Mutex
	d.Result, err = apart(ctx, cfg, source, target, opts, func(db int, key string, kind verify.Kind) error {
		if kind == verify.Extra {
			return nil // only the target has it: it stays
		}
		mu.Lock()
		defer mu.Unlock()
		return d.names.Check(db, []byte(key))
	})
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close ends the connections and removes the names.
func (d *Divergence) Close() {
	d.source.close()
	d.names.Close()
}

const (
	// together is how many keys are asked for at once, at most.
	together = 256
	// togetherBytes bounds the estimated size of their values.
	togetherBytes = 4 << 20
)

// WriteFile reads the source's version of every key and writes it into a file
// of package rescue. It can be called again, also after an error.
func (d *Divergence) WriteFile(ctx context.Context, h rescue.Header, out io.Writer) error {
	keys, err := verify.OpenKeys(ctx, d.source.side(h.From.Name))
	if err != nil {
		return err
	}
	version, err := d.version(ctx)
	if err != nil {
		return err
	}
	w := &fileWriter{d: d, keys: keys, version: version, out: rescue.NewWriter(out, version, h)}
	if err := w.functions(ctx); err != nil {
		return err
	}
	var batch []string
	batchDB := 0
	flush := func() error {
		defer func() { batch = batch[:0] }()
		return w.write(ctx, batchDB, batch)
	}
	_, err = d.names.Stale(func(db int, key []byte) error {
		if len(batch) == together || db != batchDB {
			if err := flush(); err != nil {
				return err
			}
		}
		batchDB, batch = db, append(batch, string(key))
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return w.out.Close(w.gone)
}

// version is the RDB version of the newest of the source's servers, as any of
// their payloads says.
func (d *Divergence) version(ctx context.Context) (int, error) {
	newest := 0
	for _, m := range d.source {
		version, err := m.node.payloadVersion(ctx, d.Result.Source.Databases)
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	if newest == 0 {
		newest = emptyVersion
	}
	return newest, nil
}

// emptyVersion is that of a file for a source without keys: every server that
// this tool works with reads it (Redis 4.0).
const emptyVersion = 8

// payloadVersion is the RDB version of a server's DUMP; 0 when it has no keys.
func (n *node) payloadVersion(ctx context.Context, databases []int) (int, error) {
	const tries = 20 // of keys that expire in between
	for _, db := range databases {
		for range tries {
			replies, err := n.Pipeline(ctx, db, [][]string{{"RANDOMKEY"}})
			if err != nil {
				return 0, fmt.Errorf("RANDOMKEY at %s: %w", n.addr, err)
			}
			if refused, ok := replies[0].(error); ok {
				return 0, fmt.Errorf("RANDOMKEY at %s: %w", n.addr, refused)
			}
			key, ok := replies[0].(string)
			if !ok {
				break // this database is empty
			}
			present, version, err := n.dump(ctx, db, []string{key}, func(int, byte, int64, io.Reader) error { return nil })
			if err != nil || present > 0 {
				return version, err
			}
		}
	}
	return 0, nil
}

// fileWriter is one run of WriteFile.
type fileWriter struct {
	d       *Divergence
	keys    *verify.Keys
	out     *rescue.Writer
	version int
	gone    int64
}

// functions writes the libraries that a full copy would remove or replace.
func (w *fileWriter) functions(ctx context.Context) error {
	f := w.d.Result.Functions
	names := slices.Concat(f.Missing, f.Different)
	if len(names) == 0 {
		return nil
	}
	code, err := w.keys.Functions(ctx, names)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.out.Function(code[name]); err != nil {
			return err
		}
	}
	return nil
}

// write reads some keys of one database, in parts whose values are of bounded
// size together, and all of a part from one server.
func (w *fileWriter) write(ctx context.Context, db int, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	infos, err := w.keys.Look(ctx, db, keys)
	if err != nil {
		return err
	}
	for node := range w.d.source {
		var part []int
		size := int64(0)
		for i, info := range infos {
			switch {
			case info.Node != node:
				continue
			case !info.Exists:
				w.gone++
				continue
			case len(part) > 0 && (info.Size > togetherBytes || size+info.Size > togetherBytes):
				if err := w.part(ctx, node, db, keys, infos, part); err != nil {
					return err
				}
				part, size = part[:0], 0
			}
			part = append(part, i)
			size += min(info.Size, togetherBytes)
		}
		if err := w.part(ctx, node, db, keys, infos, part); err != nil {
			return err
		}
	}
	return nil
}

func (w *fileWriter) part(ctx context.Context, node, db int, keys []string, infos []verify.KeyInfo, part []int) error {
	if len(part) == 0 {
		return nil
	}
	names := make([]string, len(part))
	for j, i := range part {
		names[j] = keys[i]
	}
	present, version, err := w.d.source[node].node.dump(ctx, db, names, func(j int, typ byte, size int64, value io.Reader) error {
		if err := w.out.Key(db, names[j], infos[part[j]].DeadlineMS, typ, size); err != nil {
			return err
		}
		_, err := io.Copy(w.out, value)
		return err
	})
	if err != nil {
		return err
	}
	if version > w.version {
		return fmt.Errorf("%s has values of RDB version %d, which no server had when the file was begun", w.d.source[node].addr, version)
	}
	w.gone += int64(len(part) - present)
	return nil
}
