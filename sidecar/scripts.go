package sidecar

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is what EVALSHA names a script by
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// A source before 7.0 replicates a script as EVAL the first time, and then as
// EVALSHA (scripting.c, evalShaCommand): its replicas have it by then. Which
// node of a target cluster has it depends on the keys of the first time, and
// no server since 7.0 hands its scripts on to a replica. So they are kept
// here, and in the target for the process after this one; EVALSHA becomes
// EVAL.

// scriptsInMemory bounds the scripts that are held, in bytes. Others are read
// from the target again.
const scriptsInMemory = 8 << 20

// scripts of the source, by the hash that EVALSHA names them by.
type scripts struct {
	bodies map[string]string
	size   int
}

func (s *scripts) add(sha, body string) {
	if s.bodies == nil || s.size+len(body) > scriptsInMemory {
		s.bodies, s.size = map[string]string{}, 0
	}
	s.bodies[sha] = body
	s.size += len(body)
}

// keepScript makes a script known to this process and to the next ones.
func (r *Replicator) keepScript(ctx context.Context, body string) error {
	sum := sha1.Sum([]byte(body)) //nolint:gosec // see above
	sha := hex.EncodeToString(sum[:])
	if _, ok := r.scripts.bodies[sha]; ok {
		return nil
	}
	if err := r.w.KeepScript(ctx, sha, body); err != nil {
		return err
	}
	r.scripts.add(sha, body)
	return nil
}

// dropScripts forgets all scripts, where none can come by its hash any more: at
// the beginning of a full copy, when the checkpoint is void, since the snapshot
// brings all that the source has.
func (r *Replicator) dropScripts(ctx context.Context) error {
	if err := r.w.DropScripts(ctx); err != nil {
		return err
	}
	r.scripts = scripts{}
	return nil
}

// scriptFlush does the same when the source has run SCRIPT FLUSH, after which
// it replicates each script by its text again (replication.c,
// replicationScriptCacheFlush). The next process may need those of before as
// long as the checkpoint is before their last use.
func (s *streaming) scriptFlush() error {
	if s.tx.open { // nothing can be written yet; the next one does it
		return nil
	}
	if err := s.r.w.Checkpoint(s.ctx); err != nil {
		return err
	}
	return s.r.dropScripts(s.ctx)
}

// script makes a script in the stream one that brings its text along.
func (s *streaming) script(c *resp.Command) error {
	switch {
	case route.EqualFold(c.Args[0], "eval") && len(c.Args) > 2:
		return s.r.keepScript(s.ctx, string(c.Args[1]))
	case route.EqualFold(c.Args[0], "evalsha") && len(c.Args) > 2:
	default:
		return stopf("the source replicates %s, which no release does that is known", c.Args[0])
	}
	sha := strings.ToLower(string(c.Args[1]))
	body, ok := s.r.scripts.bodies[sha]
	if !ok {
		var err error
		if body, ok, err = s.r.w.Script(s.ctx, sha); err != nil {
			return err
		}
		if !ok { // a snapshot brings all that the source has
			s.r.full, s.r.why = true, reason{wire.CauseScript, fmt.Sprintf("the source ran a script by its hash (%s) that this copy never had", sha)}
			return &SourceError{fmt.Errorf("copying again: %s", s.r.why.text)}
		}
		s.r.scripts.add(sha, body)
	}
	words := []string{"EVAL", body}
	for _, a := range c.Args[2:] {
		words = append(words, string(a))
	}
	c.Raw = resp.AppendCommand(nil, words...)
	c.Args = c.Args[:0]
	for _, w := range words {
		c.Args = append(c.Args, []byte(w))
	}
	return nil
}
