package switchover_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

var update = flag.Bool("update", false, "write what the scenarios lead to into their files")

// TestScenarios plays the scripts of testdata: every line that begins with ">"
// is something that happens, and the lines below it are what it leads to. After
// every line the invariants of the simulated world are checked.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("the scenario leads elsewhere (go test -update writes it down):\n%s", diff(string(text), got))
			}
		})
	}
}

// diff shows the first line that differs.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d: %q, expected %q", i+1, y, x)
		}
	}
	return ""
}

// script is a world with the operators that work in it.
type script struct {
	*sim
	runs int
}

func playScript(t *testing.T, text string) string {
	s := &script{sim: newSim()}
	s.tick()
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			out.WriteString(line)
		case strings.HasPrefix(line, ">"):
			out.WriteString(line)
			out.WriteString(s.happen(t, strings.Fields(line[1:])))
			for _, v := range s.violations {
				t.Errorf("%s: %s", strings.TrimSpace(line), v)
			}
			s.violations = nil
		}
	}
	return out.String()
}

// happen does what one line says and tells what it led to.
func (s *script) happen(t *testing.T, words []string) string {
	verb, args := words[0], words[1:]
	site := func() *simSite { return s.sites[args[0]] }
	switch verb {
	case "state":
		return s.state()
	case "pass": // time does
		for range 3 {
			s.tick()
		}
	case "lose": // a site, with everything in it
		site().up, site().redis = false, false
	case "return":
		site().up, site().redis = true, true
		s.tick()
	case "cut": // the API server of a site; its Redis goes on
		site().up = false
	case "mend":
		site().up = true
	case "crash": // the Redis of a site
		site().redis = false
	case "restart": // its pods are made anew: without window and protection
		site().redis, site().closed, site().protected = true, false, false
		s.tick()
	case "remake": // another instance is there under its name
		s.giveUp(args[0], s.other(args[0]))
		s.remake(args[0])
		s.tick()
	case "evict": // somebody removes the fence
		site().fence = 0
	case "unprotectable":
		site().protectable = false
	case "quiet": // applications learn that this is not their site
		site().apps = false
	case "loud":
		site().apps = true
	case "give-up": // the writes that only this site has are known to be lost
		s.giveUp(args[0], args[1])
	case "damage": // somebody writes to the standby
		site().damage()
	case "repair":
		site().repair(s.sites[args[1]])
	case "freeze":
		s.freeze(s.links[len(s.links)-1])
	case "wake":
		for _, l := range s.links {
			if l.frozen {
				s.wake(l)
			}
		}
	case "stale": // an old backup of the record comes back
		old := clone(site().record)
		old.Epoch, old.Primary, old.Phase, old.Body.Switch = 1, "a", pair.PhaseInSync, nil
		s.maxEpoch[args[0]] = 1
		site().record, site().version = old, site().version+1
	case "lost?":
		if lost := s.missing(args[0]); len(lost) > 0 {
			return fmt.Sprintf("site %s lacks %d acknowledged writes\n", args[0], len(lost))
		}
		return "nothing is lost at site " + args[0] + "\n"
	default:
		return s.verb(t, pair.Verb(verb), args)
	}
	s.check()
	return ""
}

func (s *script) other(site string) string {
	if site == "a" {
		return "b"
	}
	return "a"
}

// verb runs one, with its flags, and with what goes wrong.
func (s *script) verb(t *testing.T, verb pair.Verb, args []string) string {
	s.runs++
	op := s.operator(fmt.Sprintf("op%d", s.runs))
	var o switchover.Options
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "--accept-data-loss":
			o.AcceptDataLoss = true
		case "--accept-incomplete-copy":
			o.AcceptIncomplete = true
		case "--no-reverse":
			o.NoReverse = true
		case "--verify":
			o.Verify, o.VerifyFull = value != "none", value == "full"
		case "--discard-divergence":
			o.Discard = true
		case "--rescue-file":
			o.Rescue = true
		case "--rescued-by": // the file of that operation is there
			o.RescuedBy = value
		case "dies-at": // before this step
			op.onStep = func(step switchover.Step) { op.dead = op.dead || string(step.Op) == value }
		case "dies-after": // the n-th call, done
			op.failAt, op.failure = n, afterwards
		case "half-saved":
			op.failAt, op.failure = n, halfSaved
		case "answer-lost":
			op.failAt, op.failure = n, lostAnswer
		case "clock":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			op.skew = d
		case "meanwhile": // before this step another operator runs a verb
			step, other, _ := strings.Cut(value, ":")
			done := false
			op.onStep = func(at switchover.Step) {
				if string(at.Op) == step && !done {
					done = true
					second := s.operator("other")
					_, err := switchover.Run(context.Background(), second, pair.Verb(other), second.id, o, yes)
					op.trace = append(op.trace, fmt.Sprintf("another operator: %s: %s", other, ended(err)))
				}
			}
		default:
			t.Fatalf("no such flag: %s", arg)
		}
	}
	result, err := switchover.Run(context.Background(), op, verb, op.id, o, yes)
	var b strings.Builder
	for _, line := range op.trace {
		b.WriteString("  " + line + "\n")
	}
	for _, text := range result.Warnings {
		if err == nil {
			b.WriteString("  warning: " + text + "\n")
		}
	}
	b.WriteString(ended(err) + "\n")
	return b.String()
}

func ended(err error) string {
	if err == nil {
		return "done"
	}
	text := strings.ReplaceAll(err.Error(), "\n", ": ")
	return fmt.Sprintf("exit %d: %s", fault.ExitCode(err), text)
}
