package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/internal/pair"
)

// planned are the flags of a switch under load; quick saves the time that the
// comparison takes.
var (
	planned = []string{"--max-lag", "1m"}
	quick   = []string{"--max-lag", "1m", "--verify", "none"}
)

// everyStep kills the plugin in every step of a failover and of a failback. The
// verb, run again, has to reach the same end.
func everyStep(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	t.Run("failover, comparison", func(t *testing.T) {
		d.killedIn(t, "failover", d.steps(t, "failover", planned...)[0], "RecoverInSync", d.pair.Target.Instance, planned...)
	})
	t.Run("failback, comparison", func(t *testing.T) {
		d.killedIn(t, "failback", d.steps(t, "failback", planned...)[0], "InSync", d.pair.Source.Instance, planned...)
	})
	over := d.steps(t, "failover", quick...)
	for i, step := range over {
		t.Run(fmt.Sprintf("failover, step %d", i+1), func(t *testing.T) {
			d.killedIn(t, "failover", step, "RecoverInSync", d.pair.Target.Instance, quick...)
		})
		t.Run(fmt.Sprintf("failback, step %d", i+1), func(t *testing.T) {
			d.killedIn(t, "failback", d.steps(t, "failback", quick...)[i], "InSync", d.pair.Source.Instance, quick...)
		})
		if t.Failed() {
			return
		}
	}
	d.settle(t)
}

var numbered = regexp.MustCompile(`(?m)^\s*\d+\. (.*)$`)

// steps are those that a verb would do now, in words. Epochs, which grow with
// every switch, are left out.
func (d *disasters) steps(t *testing.T, verb string, flags ...string) []string {
	t.Helper()
	r := d.plugin(t, 0, d.pair.Later(verb, append(flags[:len(flags):len(flags)], "--dry-run")...)...)
	var out []string
	for _, m := range numbered.FindAllStringSubmatch(r.Stdout, -1) {
		words, _, _ := strings.Cut(m[1], " epoch ")
		out = append(out, words)
	}
	if len(out) < 4 {
		t.Fatalf("%d steps of %s: %s", len(out), verb, r.Stdout)
	}
	return out
}

// kill runs a verb and kills it as soon as the record says that it began a
// step. It says whether the verb had ended by then.
func (d *disasters) kill(t *testing.T, verb, step string, flags ...string) (done bool) {
	t.Helper()
	t.Logf("%s is killed in: %s", verb, step)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(d.world.BinDir(), "kubectl-redis_sync"), d.pair.Later(verb, append(flags[:len(flags):len(flags)], "--yes")...)...)
	cmd.Env = append(os.Environ(), d.world.Env()...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	configMaps := d.cluster(t, d.pair.Target).Typed.CoreV1().ConfigMaps(d.pair.Target.Namespace)
	events, err := configMaps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pair.RecordName(d.pair.Name)})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	begun := time.Now().UTC().Truncate(time.Second)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for killed := false; !killed; {
		select {
		case <-events.ResultChan():
			m, err := configMaps.Get(ctx, pair.RecordName(d.pair.Name), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			record, err := pair.RecordFromData(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range record.Journal {
				killed = killed || !line.At.Before(begun) && string(line.Verb) == verb && strings.HasPrefix(line.Text, "begin: "+step)
			}
		case err := <-ended:
			if err != nil {
				t.Fatalf("%s ended before that step: %v\n%s", verb, err, out.String())
			}
			t.Logf("%s was done before that step", verb)
			return true
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	t.Logf("%v\n%s", <-ended, out.String())
	if cmd.ProcessState.ExitCode() == 0 {
		return true
	}
	d.killed[verb]++
	return false
}

// killedIn kills a verb in a step and runs it again.
func (d *disasters) killedIn(t *testing.T, verb, step, phase, primary string, flags ...string) {
	t.Helper()
	done := d.kill(t, verb, step, flags...)
	// Where it was killed while it closed a site, some of its masters are open.
	source, _ := takeWrites(t, d.source)
	if target, _ := takeWrites(t, d.target); source > 0 && target > 0 {
		t.Errorf("%d masters of the old primary and %d of the new one take writes", source, target)
	}
	d.plugin(t, 0, d.pair.Later("unlock", "--yes")...)
	if done { // it was done when the signal came
		return
	}
	result := d.switches(t, 0, append([]string{verb, "--yes"}, flags...)...)
	if string(result.Phase) != phase || result.Primary != primary || result.FullCopies != 0 {
		t.Errorf("%s reached %+v", verb, result)
	}
	onSource := primary == d.pair.Source.Instance
	if takesWrites(t, d.source) != onSource || takesWrites(t, d.target) == onSource {
		t.Error("only the new primary is to take writes")
	}
}
