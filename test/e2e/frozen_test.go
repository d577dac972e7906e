package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (d *disasters) scaleShard(t *testing.T, deployment string, n int) {
	t.Helper()
	place := d.pair.Target
	if _, err := d.world.KubectlRun(t.Context(), place.Site, "-n", place.Namespace, "scale", "deployment", deployment, fmt.Sprint("--replicas=", n)); err != nil {
		t.Fatal(err)
	}
	d.eventually(t, time.Minute, "the pods are gone", func() bool {
		pods, err := d.cluster(t, place).Typed.CoreV1().Pods(place.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "redis-sync.io/pair=" + d.pair.Name})
		if err != nil {
			t.Fatal(err)
		}
		return len(pods.Items) == shards-1+n
	})
}

// contents are the keys of the source's writers on the target, by a sum of
// their values; their deadlines are left out.
func (d *disasters) contents(t *testing.T) map[string][32]byte {
	t.Helper()
	masters, err := d.target.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][32]byte{}
	client := d.target.Open(masters[0].Pod, 0)
	defer func() { _ = client.Close() }()
	for worker := range 4 {
		cursor := client.Scan(t.Context(), 0, fmt.Sprintf("live:{w%d}:*", worker), 1000).Iterator()
		for cursor.Next(t.Context()) {
			// A key whose deadline passes has no value: not looked at.
			if value, err := client.Dump(t.Context(), cursor.Val()).Result(); err == nil {
				out[cursor.Val()] = sha256.Sum256([]byte(value))
			}
		}
		if err := cursor.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// unchanged fails when a key of the old primary's writers is not as it was.
func (d *disasters) unchanged(t *testing.T, before map[string][32]byte, when string) {
	t.Helper()
	after := d.contents(t)
	for key, sum := range after {
		if was, known := before[key]; !known || was != sum {
			t.Errorf("%s: key %q changed", when, key)
		}
	}
	if len(after) < 100 {
		t.Errorf("only %d keys were looked at", len(after))
	}
}

// siteOff: the primary's site is switched off as in a power loss, while one
// replicator is frozen with a full buffer. It wakes after the switch.
func siteOff(t *testing.T, d *disasters) {
	d.writeEverywhere(t)
	d.inSync(t, time.Minute)
	seen := watchSteps(t, d.near)
	b := d.bareReplicator(t)
	time.Sleep(8 * time.Second) // of writes that must not get lost
	b.freeze(t, d)
	if err := d.world.PowerOff(t.Context(), d.pair.Source.Site); err != nil {
		t.Fatal(err)
	}
	on := false
	start := func() {
		if on {
			return
		}
		on = true
		if err := d.world.PowerOn(t.Context(), d.pair.Source.Site); err != nil {
			t.Error(err)
		}
	}
	defer start()
	since := d.force(t)
	samples := seen.end()
	d.ledger.holdsUntil(t, d.target, samples, since.Add(-5*time.Second))

	before := d.contents(t)
	b.signal(t, syscall.SIGCONT)
	b.fenced(t, d)
	d.unchanged(t, before, "an old replicator woke")
	b.end(t)
	b.run(t) // as a pod would be, from its old ConfigMap
	b.fenced(t, d)
	d.unchanged(t, before, "an old replicator was started again")
	b.end(t)
	start()
	// For a while the API server says of the pods what was true before.
	d.eventually(t, 5*time.Minute, "the old primary serves again", func() bool {
		masters, err := d.source.Masters(t.Context())
		return err == nil && len(masters) == shards
	})
	bounded, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := d.cluster(t, d.pair.Source).WaitReady(bounded, d.pair.Source); err != nil {
		t.Fatal(err)
	}
	d.invalidated(t)
	// The writers ended with their site: what they were told last is lost.
	counted := keysOf(samples[len(samples)-1].steps)
	for key, n := range counters(t, d.target, counted) {
		d.ledger.acknowledged[key], d.ledger.unknown[key] = n, 0
	}
	d.home(t)
}
