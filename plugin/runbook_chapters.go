package plugin

import (
	"fmt"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
	"github.com/redis-sync/kubectl-redis-sync/internal/switchover"
)

// writer writes the chapters of a runbook. a is the preferred primary and b
// the other site in the names of its methods' texts.
type writer struct {
	session          *execute.Session
	preferred, other string
	kubeconfig       string              // of the command line; "" is the usual one
	overrides        map[string][]string // by site, the flags that the other one's commands need
}

// newWriter prepares the names for commands; it refuses those that cannot be typed.
func newWriter(s *execute.Session, preferred, other, kubeconfig string) (*writer, error) {
	w := &writer{session: s, preferred: preferred, other: other, kubeconfig: kubeconfig, overrides: map[string][]string{}}
	if err := checkTypable("the kubeconfig file", kubeconfig); err != nil {
		return nil, err
	}
	for _, party := range s.InOrder() {
		site := party.Site
		for what, text := range map[string]string{"context": site.Context, "namespace": site.Namespace, "kubeconfig file": site.Kubeconfig} {
			if err := checkTypable("the "+what+" of site "+site.Name, text); err != nil {
				return nil, err
			}
		}
		var flags []string
		add := func(flag, value string) error {
			text, err := ofSite(site.Name, value)
			flags = append(flags, flag, text)
			return err
		}
		// The record tells the other site's context, which may be named
		// differently here.
		if site.Context != s.Record.Body.Sites[site.Name].Context {
			if err := add("--site-context", site.Context); err != nil {
				return nil, err
			}
		}
		if site.Kubeconfig != "" {
			if err := add("--site-kubeconfig", site.Kubeconfig); err != nil {
				return nil, err
			}
		}
		w.overrides[site.Name] = flags
	}
	return w, nil
}

// line is a command as it is to be typed, which finds the record at a site.
func (w *writer) line(verb, at string, more ...string) string {
	other, _ := w.session.Spec.Other(at)
	site, beside := w.session.Parties[at].Site, w.session.Parties[other.Name].Site
	if site.Kubeconfig != "" && beside.Kubeconfig == "" {
		// Its file would hide the usual one from the other site.
		site, beside = beside, site
	}
	args := []string{"kubectl", "redis-sync", verb, w.session.Name}
	if file := firstOf(site.Kubeconfig, w.kubeconfig); file != "" {
		args = append(args, "--kubeconfig", file)
	}
	args = append(args, "--context", site.Context, "-n", site.Namespace)
	args = append(args, w.overrides[beside.Name]...)
	return shellLine(append(args, more...))
}

func (w *writer) look() chapter {
	return chapter{
		title: "Look first",
		about: []string{"Either site's context will do, if its cluster answers."},
		commands: []command{
			{"what is the state, and what is possible now", w.line("status", w.other)},
			{"do both sites hold the same", w.line("verify", w.other)},
		},
	}
}

func (w *writer) failover(e *switchover.Expected) chapter {
	return chapter{
		title: fmt.Sprintf("Planned: move to %s, with nothing lost", w.other),
		about: []string{fmt.Sprintf("%s is the primary and answers. Applications get NOREPLICAS from the closing to the opening.", w.preferred)},
		commands: []command{
			{"the steps that it would do now", w.line("failover", w.other, "--dry-run")},
			{"do it; --hook DIR tells applications where to write", w.line("failover", w.other, "--yes")},
			{"until the old primary is in sync as the standby", w.line("wait", w.other, "--for=in-sync")},
		},
		stepsOf: "failover", steps: e.Failover,
		after: []string{
			"Exit code 3 or 5: nothing was switched, and the text says why. Exit code 4 or 6: it did not come to its end; status says which site is the primary. Run the same command again, or see the last chapter, as after 130.",
			fmt.Sprintf("Point the applications at %s, if no hook did.", w.other),
		},
	}
}

func (w *writer) forced(e *switchover.Expected) chapter {
	return chapter{
		title: fmt.Sprintf("%s is lost: go on with %s", w.preferred, w.other),
		about: []string{fmt.Sprintf("What %s had not sent is lost. If it may come back within the time that you have, bring it back instead.", w.preferred)},
		commands: []command{
			{"refuses, and says since when nothing was heard and how far behind the copy is", w.line("failover", w.other)},
			{"do it", w.line("failover", w.other, "--accept-data-loss", "--yes")},
		},
		stepsOf: "failover --accept-data-loss", steps: e.Forced,
		after: []string{
			fmt.Sprintf("Point the applications at %s. Keep them away from %s: should it come back, it still takes writes, and nothing copies from it any more.", w.other, w.preferred),
			"A copy that is being rewritten is not promoted without --accept-incomplete-copy as well.",
		},
	}
}

func (w *writer) recover(e *switchover.Expected) chapter {
	return chapter{
		title: fmt.Sprintf("%s is back: feed it from %s", w.preferred, w.other),
		about: []string{
			fmt.Sprintf("After a failover without it. It may hold writes that %s never had, which a full copy replaces: recover refuses until you save them, or say that they may go.", w.other),
			"After a planned failover this has happened by itself, without a full copy.",
		},
		commands: []command{
			{"refuses while there is something to decide, and says what", w.line("recover", w.other)},
			{"save what only the old primary has, and copy; --discard-divergence instead lets it go", w.line("recover", w.other, "--rescue-file="+w.session.Name+"-"+w.preferred+".rdb", "--yes")},
			{"until it is in sync", w.line("wait", w.other, "--for=in-sync")},
		},
		stepsOf: "recover --rescue-file", steps: e.Recover,
		after: []string{
			"Exit code 4: the time to wait was over, and the copy may go on; status says how far it is, and the wait above goes on waiting. Exit code 6: run the same command again.",
		},
	}
}

func (w *writer) failback(e *switchover.Expected) chapter {
	return chapter{
		title: fmt.Sprintf("Go back to %s", w.preferred),
		about: []string{fmt.Sprintf("Planned, with nothing lost, when %s is in sync as the standby.", w.preferred)},
		commands: []command{
			{"the steps that it would do now", w.line("failback", w.preferred, "--dry-run")},
			{"do it", w.line("failback", w.preferred, "--yes")},
		},
		stepsOf: "failback", steps: e.Failback,
		after: []string{fmt.Sprintf("Point the applications at %s, if no hook did.", w.preferred)},
	}
}

func (w *writer) interrupted(e *switchover.Expected) chapter {
	return chapter{
		title: "A switch stopped in the middle",
		about: []string{
			"Exit code 6 or 130, or the machine is gone. The record knows how far it came; every step can be done again.",
		},
		commands: []command{
			{"what is under way, and whether somebody is at it", w.line("status", w.other)},
			{"only if the command that holds the lock is dead, and you cannot wait half a minute", w.line("unlock", w.other, "--yes")},
			{"go on from where it stopped", w.line("resume", w.other, "--yes")},
			{"or take it back, while the new primary was not opened", w.line("cancel", w.other, "--yes")},
		},
		after: []string{
			"cancel of a failover, before the commit: " + inOneLine(e.CancelEarly) + ".",
			"cancel after the commit, before the opening: " + inOneLine(e.CancelLate) + ".",
			"After the opening cancel refuses: resume, then go back as above.",
		},
	}
}

func inOneLine(steps []switchover.Step) string {
	texts := make([]string, len(steps))
	for i, step := range steps {
		texts[i] = step.String()
	}
	return strings.Join(texts, "; ")
}
