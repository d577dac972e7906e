package switchover_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
)

// inSync is a pair at rest, seen by a failover from a to b.
func inSync() switchover.World {
	return switchover.World{
		Record: &pair.Record{Pair: "dr1", Phase: pair.PhaseInSync, Epoch: 1, Primary: "a", Body: pair.Body{
			Spec:  pair.Spec{Sites: []pair.Site{{Name: "a"}, {Name: "b"}}, PreferredPrimary: "a"},
			Sites: map[string]pair.SiteState{"a": {}, "b": {}},
		}},
		Sites: map[string]switchover.Site{
			"a": {Name: "a", Reachable: true, Answers: true, Protectable: true},
			"b": {Name: "b", Reachable: true, Answers: true, Protectable: true, Protected: true, Fence: 1},
		},
		Link: switchover.Link{Complete: true, Running: true},
	}
}

// TestUnknownLag: a replicator that never heard its master says a lag of 0.
// Nothing is closed on its word; once something is closed, going on or the
// timeout decides.
func TestUnknownLag(t *testing.T) {
	o := switchover.Options{MaxLag: 10 * time.Second}
	if _, err := switchover.Decide(inSync(), pair.VerbFailover, "op", o); err != nil {
		t.Fatalf("in sync: %v", err)
	}
	w := inSync()
	w.Link.Unheard = "the replicator of shard 2 has not heard its master"
	_, err := switchover.Decide(w, pair.VerbFailover, "op", o)
	if fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "shard 2") {
		t.Errorf("a lag that is not known: %v", err)
	}
	closed := w.Sites["a"]
	closed.Closed = true
	w.Sites["a"] = closed
	if _, err := switchover.Decide(w, pair.VerbFailover, "op", o); err != nil {
		t.Errorf("closed already: %v", err)
	}
}

// TestInterruptedWait: a switch that was killed in its last step is not done a
// second time, backwards, when its verb is run again.
func TestInterruptedWait(t *testing.T) {
	for _, c := range []struct {
		verb      pair.Verb
		from, to  string
		phase     pair.Phase
		preferred string
	}{
		{pair.VerbFailover, "a", "b", pair.PhaseRecovering, "a"},
		{pair.VerbFailback, "b", "a", pair.PhaseSyncing, "a"},
	} {
		w := inSync()
		w.Record.Epoch, w.Record.Primary, w.Record.Phase = 2, c.to, c.phase
		w.Record.Body.Switch = &pair.Switch{
			ID: "op", Verb: c.verb, From: c.from, To: c.to, Epoch: 2, Base: 1, Opening: true, Opened: true, Kept: true, Ended: true,
		}
		for name, site := range w.Sites {
			site.Fence, site.Protected = 2, name == c.from
			w.Sites[name] = site
		}
		p, err := switchover.Decide(w, c.verb, "next", switchover.Options{})
		if err != nil {
			t.Errorf("%s again: %v", c.verb, err)
			continue
		}
		want := []switchover.Step{{Op: switchover.OpLink, Site: c.from}, {Op: switchover.OpAwait, Site: c.from}}
		if !slices.Equal(p.Steps, want) || p.Switch.ID != "op" {
			t.Errorf("%s again: %v of switch %s", c.verb, p.Steps, p.Switch.ID)
		}
	}
}

// TestInterruptedRecover: what was agreed to lose when a full copy began is
// not asked again, and not taken back, in the middle of it.
func TestInterruptedRecover(t *testing.T) {
	for _, c := range []struct {
		name           string
		phase          pair.Phase
		ended          bool
		fence          int64
		complete, full bool
		discard        bool
		code           int
	}{
		{"before the fence", pair.PhaseFailedOver, false, 1, false, true, true, 0},
		{"after the fence", pair.PhaseFailedOver, false, 2, false, true, true, 0},
		{"after the fence, without the flag", pair.PhaseFailedOver, false, 2, false, true, false, fault.CodeRefused},
		{"in the wait", pair.PhaseRecovering, true, 2, false, true, false, 0},
		{"at the end of the wait", pair.PhaseRecovering, true, 2, true, false, false, 0},
	} {
		w := inSync()
		w.Record.Epoch, w.Record.Primary, w.Record.Phase = 2, "b", c.phase
		w.Record.Body.Sites["a"] = pair.SiteState{Invalidated: !c.ended}
		w.Record.Body.Switch = &pair.Switch{
			ID: "op", Verb: pair.VerbRecover, From: "a", To: "b", Epoch: 2, Base: 1, Opening: true, Opened: true, Forced: true, Ended: c.ended,
		}
		w.Sites["a"] = switchover.Site{Name: "a", Reachable: true, Answers: true, Protectable: true, Fence: c.fence, Keys: 7}
		w.Sites["b"] = switchover.Site{Name: "b", Reachable: true, Answers: true, Protectable: true, Fence: 2}
		w.Link.Complete = c.complete
		p, err := switchover.Decide(w, pair.VerbRecover, "next", switchover.Options{Discard: c.discard})
		if fault.ExitCode(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		n := len(p.Steps)
		want := []switchover.Step{{Op: switchover.OpLink, Site: "a", Full: c.full}, {Op: switchover.OpAwait, Site: "a"}}
		if n < 2 || !slices.Equal(p.Steps[n-2:], want) || c.ended != (n == 2) {
			t.Errorf("%s: %v", c.name, p.Steps)
		}
	}
}

// TestDivergence: what a full copy would replace is known before anybody
// decides about it, and is not asked for where it does not matter.
func TestDivergence(t *testing.T) {
	forced := func() switchover.World {
		w := inSync()
		w.Record.Epoch, w.Record.Primary, w.Record.Phase = 2, "b", pair.PhaseFailedOver
		w.Record.Body.Switch = &pair.Switch{ID: "op", Verb: pair.VerbFailover, From: "a", To: "b", Epoch: 2, Opened: true, Forced: true, Ended: true}
		w.Sites["a"] = switchover.Site{Name: "a", Reachable: true, Answers: true, Protectable: true, Keys: 7}
		w.Sites["b"] = switchover.Site{Name: "b", Reachable: true, Answers: true, Protectable: true, Fence: 2}
		return w
	}
	for name, change := range map[string]func(*switchover.World, *switchover.Site){
		"":                         func(*switchover.World, *switchover.Site) {},
		"another phase":            func(w *switchover.World, _ *switchover.Site) { w.Record.Phase = pair.PhaseRecovering },
		"nothing there":            func(_ *switchover.World, a *switchover.Site) { a.Keys = 0 },
		"silent":                   func(_ *switchover.World, a *switchover.Site) { a.Answers = false },
		"a fence of another epoch": func(_ *switchover.World, a *switchover.Site) { a.Fence = 3 },
		"decided already":          func(_ *switchover.World, a *switchover.Site) { a.Fence = 2 },
		"fed from the position": func(w *switchover.World, a *switchover.Site) {
			s := w.Record.Body.Switch
			s.Forced, s.Kept, s.Positions, a.Protected = false, true, []pair.PositionRecorded{{Offset: 1}}, true
		},
	} {
		w := forced()
		a := w.Sites["a"]
		change(&w, &a)
		w.Sites["a"] = a
		if got := switchover.CopiesInFull(w); got != (name == "") {
			t.Errorf("%q: CopiesInFull is %v", name, got)
		}
	}

	w := forced()
	w.Divergence = switchover.DivergenceOf(&wire.VerifyResult{
		Source: wire.VerifySideResult{Name: "a"}, Target: wire.VerifySideResult{Name: "b"}, Mode: wire.VerifySample,
		Compared: 6, Missing: 1, Different: 2, Unsettled: 1, TTLDiffers: 3, Extra: 4, Functions: wire.VerifyFunctions{Missing: []string{"lib"}, Extra: []string{"other"}},
	})
	if n := w.Divergence.Lost(); n != 8 {
		t.Errorf("%d are lost", n)
	}
	_, err := switchover.Decide(w, pair.VerbRecover, "next", switchover.Options{})
	const want = "a full copy replaces its 7 keys; site a, of whose keys 6 were compared (a sample), has 1 that site b lacks, 3 that differ there and 3 with another TTL; " +
		"1 function libraries that it lacks or has otherwise; only site b has 4 (site a was written to meanwhile)"
	if fault.ExitCode(err) != fault.CodeRefused || !strings.HasSuffix(err.Error(), want) || !strings.Contains(fault.Remedy(err), "--rescue-file=PATH") {
		t.Errorf("refused with %v (%s)", err, fault.Remedy(err))
	}
	for _, o := range []switchover.Options{{Discard: true}, {Rescue: true}, {Rescue: true, Discard: true}} {
		p, err := switchover.Decide(w, pair.VerbRecover, "next", o)
		if err != nil {
			t.Fatal(err)
		}
		saved := slices.Contains(p.Steps, switchover.Step{Op: switchover.OpRescue, Site: "a"})
		warned := slices.ContainsFunc(p.Warnings, func(text string) bool { return strings.Contains(text, "--rescue-file") })
		if p.Divergence != w.Divergence || saved != o.Rescue || warned == o.Rescue {
			t.Errorf("%+v: steps %v, warnings %q", o, p.Steps, p.Warnings)
		}
	}
}

// TestLastKnown: without the primary failover says what would be lost, in bytes
// and in seconds, when it refuses and before it goes on.
func TestLastKnown(t *testing.T) {
	for _, c := range []struct {
		link switchover.Link
		text string
	}{
		{switchover.Link{}, "when it was last heard of is not known, nor what would be lost"},
		{switchover.Link{Since: "at 3"}, "last heard of at 3, when the standby was 0 bytes and 0.0 s behind: what it took since then would be lost"},
		{
			switchover.Link{Since: "at 3", LagBytes: 70, Behind: 1530 * time.Millisecond},
			"last heard of at 3, when the standby was 70 bytes and 1.5 s behind: these, and what it took since then, would be lost",
		},
		{
			switchover.Link{Since: "at 3", LagBytes: 70, Behind: -1},
			"last heard of at 3, when the standby was 70 bytes behind, for how many seconds is not known: these, and what it took since then, would be lost",
		},
	} {
		w := inSync()
		w.Sites["a"] = switchover.Site{Name: "a", Why: "no route to host"}
		w.Link = c.link
		w.Link.Complete = true
		_, err := switchover.Decide(w, pair.VerbFailover, "op", switchover.Options{})
		if want := "site a, does not answer: no route to host; " + c.text; fault.ExitCode(err) != fault.CodeRefused || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("refused with %v, expected %q", err, want)
		}
		p, err := switchover.Decide(w, pair.VerbFailover, "op", switchover.Options{AcceptDataLoss: true})
		if err != nil || !slices.Contains(p.Warnings, "site a does not answer: no route to host; "+c.text) {
			t.Errorf("%v; the plan warns %q, expected %q", err, p.Warnings, c.text)
		}
	}
}

// TestReplaced: an instance that was made anew under its name is neither the
// primary that the standby is a copy of, nor known to be the copy.
func TestReplaced(t *testing.T) {
	const anew = "it was made anew"
	replace := func(name string) switchover.World {
		w := inSync()
		w.Link.Since = "at 3"
		site := w.Sites[name]
		site.Replaced = anew
		w.Sites[name] = site
		return w
	}
	for _, name := range []string{"a", "b"} {
		_, err := switchover.Decide(replace(name), pair.VerbFailover, "op", switchover.Options{})
		if fault.ExitCode(err) != fault.CodeRefused || !strings.Contains(err.Error(), "site "+name) ||
			!strings.Contains(err.Error(), "is not the instance that the record knows: "+anew) || !strings.Contains(fault.Remedy(err), "apply notes the new one") {
			t.Errorf("site %s: %v, remedy %q", name, err, fault.Remedy(err))
		}
	}
	// A primary that lost its data is a lost one, but where it answers it must not
	// go on to take writes beside the new one.
	p, err := switchover.Decide(replace("a"), pair.VerbFailover, "op", switchover.Options{AcceptDataLoss: true})
	if err != nil || !p.Switch.Forced || !strings.Contains(strings.Join(p.Warnings, "\n"), anew) || !strings.Contains(strings.Join(p.Warnings, "\n"), "site a answers") {
		t.Fatalf("%+v, %v", p, err)
	}
	var steps []string
	for _, step := range p.Steps {
		steps = append(steps, string(step.Op)+" "+step.Site)
	}
	if got := strings.Join(steps, ", "); got != "close a, commit b, fence b, open b, stop b, protect a, lift a" {
		t.Errorf("the steps are %s", got)
	}
	// Its standby may be promoted all the same: fence and checkpoints are there.
	w := replace("b")
	w.Sites["a"] = switchover.Site{Name: "a", Why: "no route to host"}
	p, err = switchover.Decide(w, pair.VerbFailover, "op", switchover.Options{AcceptDataLoss: true})
	if err != nil || !strings.Contains(strings.Join(p.Warnings, "\n"), "site b is not the instance that the record knows") {
		t.Errorf("%+v, %v", p, err)
	}
	// recover trusts no position in it.
	w = replace("a")
	w.Record.Phase, w.Record.Epoch, w.Record.Primary = pair.PhaseFailedOver, 2, "b"
	w.Record.Body.Switch = &pair.Switch{
		ID: "op", Verb: pair.VerbFailover, From: "a", To: "b", Epoch: 2, Opened: true, Ended: true, Kept: true, Positions: []pair.PositionRecorded{{Offset: 1}},
	}
	b := w.Sites["b"]
	b.Fence = 2
	w.Sites["b"] = b
	for _, anew := range []bool{true, false} {
		a := w.Sites["a"]
		a.Protected, a.Replaced = true, ""
		if anew {
			a.Replaced = "it was made anew"
		}
		w.Sites["a"] = a
		w.Link.Complete = false
		p, err := switchover.Decide(w, pair.VerbRecover, "op", switchover.Options{Discard: true})
		if err != nil {
			t.Fatal(err)
		}
		if full := slices.ContainsFunc(p.Steps, func(s switchover.Step) bool { return s.Op == switchover.OpLink && s.Full }); full != anew {
			t.Errorf("made anew %v, full copy %v", anew, full)
		}
	}
}
