package pair

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
	"github.com/redis-sync/kubectl-redis-sync/internal/topology"
)

func testRecord(t *testing.T) *Record {
	t.Helper()
	text, err := os.ReadFile("testdata/pair.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p = p.Default()
	slots := func(text string) topology.SlotSet {
		set, err := topology.ParseSlots(text)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	return &Record{
		Pair: "dr1", Phase: PhaseInSync, Epoch: 3, Primary: "east",
		Body: Body{
			Spec:  p.Spec,
			Image: "redis-sync-sidecar:dev",
			Sites: map[string]SiteState{
				"east": {
					Cluster: ClusterIdentity{UID: "u-a", CAHash: "h-a"}, Namespace: "redis", Instance: "redis-a", Kind: "RedisCluster", Mode: topology.ModeCluster,
					StatefulSets: []topology.OwnerUID{{Name: "redis-a-leader", UID: "s-1"}}, NodeIDs: []string{"n1", "n2"},
					Services: map[string]ServiceInfo{"redis-a-leader-0": {Name: "dr1-redis-a-leader-0", NodePort: 31000}},
				},
				"redis-b": {Cluster: ClusterIdentity{CAHash: "h-b"}, Namespace: "redis", Instance: "redis-b", Kind: "RedisFailover", Mode: topology.ModeSentinel},
			},
			Shards: []ShardState{{Slots: slots("0-8191"), Pods: []string{"redis-a-leader-0", "redis-a-follower-0"}}, {Slots: slots("8192-16383"), Pods: []string{"redis-a-leader-1"}}},
		},
		Journal: []JournalLine{{At: time.Unix(1_700_000_000, 0).UTC(), Operation: "4fe1", Verb: VerbApply, By: "op@host", Text: "begin: something"}},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := testRecord(t)
	data, err := r.Data()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"schemaVersion": "1", "phase": "InSync", "epoch": "3", "primary": "east", "standby": "redis-b", "paused": "false",
		"journal": "2023-11-14T22:13:20Z 4fe1 apply op@host begin: something\n",
	} {
		if data[key] != want {
			t.Errorf("key %s is %q, expected %q", key, data[key], want)
		}
	}
	if strings.Contains(data["record.json"], "/home/op") {
		t.Error("the record holds a path of somebody's machine")
	}
	back, err := RecordFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	want := testRecord(t)
	want.Body.Spec.Sites[0].Kubeconfig = ""
	if !reflect.DeepEqual(back.Body, want.Body) || !reflect.DeepEqual(back.Journal, want.Journal) || back.Epoch != 3 || back.Phase != PhaseInSync {
		t.Errorf("read back:\n%+v\nexpected:\n%+v", back, want)
	}
}

// A record is a format: this one was written by the first version, and every
// later one has to read it.
func TestRecordOfVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/record-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var data map[string]string
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	r, err := RecordFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Pair != "dr1" || r.Primary != "redis-a" || r.Standby() != "redis-b" || len(r.Body.Shards) != 3 || r.Body.Shards[1].Slots.String() != "5461-10922" {
		t.Errorf("read %+v", r)
	}
	if port := r.Body.Sites["redis-a"].Services["redis-a-leader-1"].NodePort; port != 30379 {
		t.Errorf("node port %d", port)
	}
}

func TestRecordKeepsWhatItDoesNotKnow(t *testing.T) {
	data, err := testRecord(t).Data()
	if err != nil {
		t.Fatal(err)
	}
	data["newKey"] = "new"
	var body map[string]any
	if err := json.Unmarshal([]byte(data["record.json"]), &body); err != nil {
		t.Fatal(err)
	}
	body["future"] = map[string]any{"x": 1.0}
	body["sites"].(map[string]any)["east"].(map[string]any)["zone"] = "eu"
	body["shards"].([]any)[1].(map[string]any)["weight"] = 2.0
	body["spec"].(map[string]any)["sites"].([]any)[0].(map[string]any)["access"].(map[string]any)["proxy"] = "p"
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	data["record.json"] = string(text)

	r, err := RecordFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	r.Phase, r.Body.Image = PhaseSyncing, "other:1"
	again, err := r.Data()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(again["record.json"]), &got); err != nil {
		t.Fatal(err)
	}
	body["image"] = "other:1"
	if !reflect.DeepEqual(got, body) {
		t.Errorf("rewritten:\n%v\nexpected:\n%v", got, body)
	}
	if again["newKey"] != "new" || again["phase"] != "Syncing" {
		t.Errorf("keys %q, %q", again["newKey"], again["phase"])
	}
}

func TestRecordRefuses(t *testing.T) {
	for name, change := range map[string]struct{ key, value, want string }{
		"newer schema":    {"schemaVersion", "2", "schema version 2, and this version reads up to 1"},
		"no schema":       {"schemaVersion", "", "is not a version"},
		"no epoch":        {"epoch", "0", "not a number greater than 0"},
		"no body":         {"record.json", "{", "record.json"},
		"unknown primary": {"primary", "redis-x", "no site of the pair"},
		"broken journal":  {"journal", "nonsense\n", "journal line"},
		"paused maybe":    {"paused", "maybe", "neither true nor false"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := testRecord(t).Data()
			if err != nil {
				t.Fatal(err)
			}
			data[change.key] = change.value
			if _, err := RecordFromData(data); err == nil || !strings.Contains(err.Error(), change.want) {
				t.Errorf("error %v, expected %s", err, change.want)
			}
		})
	}
}

func TestNewer(t *testing.T) {
	a, b := testRecord(t), testRecord(t)
	b.Epoch = 4
	for _, order := range [][2]*Record{{a, b}, {b, a}, {nil, b}, {b, nil}} {
		if got, err := Newer(order[0], order[1]); err != nil || got != b {
			t.Errorf("newer is epoch %d, %v", got.Epoch, err)
		}
	}
	b.Epoch, b.Primary = 3, "redis-b"
	if _, err := Newer(a, b); fault.ExitCode(err) != fault.CodeRefused {
		t.Errorf("two primaries at one epoch: %v", err)
	}
	b.Primary = "east"
	b.Journal = append(b.Journal, JournalLine{At: time.Unix(1_800_000_000, 0), Text: "later"})
	if got, err := Newer(a, b); err != nil || got != b {
		t.Errorf("of two records of one epoch the one with the later journal counts: %v", err)
	}
}

func TestJournalIsBounded(t *testing.T) {
	r := testRecord(t)
	for i := range 2 * maxJournalLines {
		r.Journal = append(r.Journal, JournalLine{At: time.Unix(int64(i), 0), Verb: VerbApply, By: "a b\nc", Text: fmt.Sprintf("line %d\nforged %s", i, strings.Repeat("ä", 1000))})
	}
	data, err := r.Data()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(data["journal"]), "\n")
	if len(lines) != maxJournalLines || !strings.Contains(lines[len(lines)-1], fmt.Sprintf("line %d forged", 2*maxJournalLines-1)) {
		t.Errorf("%d lines, last %.80s", len(lines), lines[len(lines)-1])
	}
	if size := len(data["journal"]); size > 200<<10 {
		t.Errorf("the journal has %d bytes", size)
	}
	if _, err := RecordFromData(data); err != nil {
		t.Error(err)
	}
}

func TestLegality(t *testing.T) {
	for _, phase := range Phases {
		legal := map[Verb]bool{}
		for _, verb := range Verbs {
			l := Legal(verb, phase, false)
			legal[verb] = l.Legal
			if l.Legal == (l.Why != "") {
				t.Errorf("%s in %s: legal %v, reason %q", verb, phase, l.Legal, l.Why)
			}
		}
		if !legal[VerbStatus] {
			t.Errorf("status has to be possible in %s", phase)
		}
		if switching := phase == PhaseFailingOver || phase == PhaseFailingBack; switching != legal[VerbResume] || switching != legal[VerbCancel] {
			t.Errorf("in %s resume is %v and cancel is %v", phase, legal[VerbResume], legal[VerbCancel])
		}
		copied := phase != PhasePlanned && phase != PhaseFailedOver && phase != PhaseDeleting && phase != PhaseFailingBack
		if legal[VerbFailover] != copied {
			t.Errorf("in %s failover is %v", phase, legal[VerbFailover])
		}
		if back := phase == PhaseRecoverInSync || phase == PhaseRecovering || phase == PhaseFailingBack || phase == PhaseFailed; legal[VerbFailback] != back {
			t.Errorf("in %s failback is %v", phase, legal[VerbFailback])
		}
		r := testRecord(t)
		r.Phase = phase
		if LegalNow(VerbFailover, r, false).Legal && phase != PhaseFailingOver {
			t.Errorf("in %s failover is possible onto a copy that is not complete", phase)
		}
		if LegalNow(VerbFailback, r, true).Legal && phase != PhaseFailingBack {
			t.Errorf("in %s failback is possible though the preferred primary is the primary", phase)
		}
		if legal[VerbStart] {
			t.Errorf("start is possible in %s though nothing is paused", phase)
		}
	}
	if !Legal(VerbStart, PhaseInSync, true).Legal || Legal(VerbPause, PhaseInSync, true).Legal {
		t.Error("a paused pair can be started and not be paused")
	}
}

func TestNewerRecord(t *testing.T) {
	at := func(seconds int64, operation string) JournalLine {
		return JournalLine{At: time.Unix(1_700_000_000+seconds, 0).UTC(), Operation: operation, Verb: VerbFailover, By: "op", Text: "begin: x"}
	}
	base := func() *Record {
		r := testRecord(t)
		r.Body.Switch = &Switch{ID: "s1", Verb: VerbFailover, From: "east", To: "redis-b", Epoch: 4}
		r.Phase = PhaseFailingOver
		return r
	}
	// A clock that is an hour ahead wrote the older of the two.
	older, newer := base(), base()
	older.Journal = append(older.Journal, at(3600, "aa"))
	older.Body.Revision = 7
	newer.Journal = append(newer.Journal, at(3600, "aa"), at(5, "bb"))
	newer.Body.Revision = 8
	for _, order := range [][2]*Record{{older, newer}, {newer, older}} {
		if got, err := Newer(order[0], order[1]); err != nil || got != newer {
			t.Errorf("picked %+v, %v", got, err)
		}
	}
	apart := base()
	apart.Journal = append(apart.Journal, at(6, "cc"))
	apart.Body.Revision = 9
	if _, err := Newer(apart, newer); fault.ExitCode(err) != fault.CodeRefused {
		t.Errorf("two that were written apart: %v", err)
	}
	higher := base()
	higher.Epoch, higher.Primary = 4, "redis-b"
	if got, err := Newer(newer, higher); err != nil || got != higher {
		t.Errorf("the higher epoch has to win: %+v, %v", got, err)
	}
}
