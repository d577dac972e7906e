package wire

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestParseStatusRefuses(t *testing.T) {
	for _, body := range []string{"", "null", "{}", "[]", "<html>", `{"phase":7}`, `{"phase":"Streaming"`, `{"phase":"Streaming"}{}`, `{"phase":"Streaming","shard":99999999999999999999}`} {
		if s, err := ParseStatus([]byte(body)); err == nil {
			t.Errorf("%s: got %+v", body, s)
		}
	}
}

// FuzzParseStatus: what was read is what the plugin passes on as JSON.
func FuzzParseStatus(f *testing.F) {
	full, err := json.Marshal(Status{
		SchemaVersion: 1, Version: "v1", Pair: "p", Site: "b", Slots: "0-5460", Phase: PhaseStreaming, InSync: true, Complete: true, Epoch: 3, Delivery: ExactlyOnce,
		Source: SourceStatus{Address: "10.0.0.1:6379", Role: "slave", ReplID: "a", Offset: 7}, Target: TargetStatus{Type: "cluster"},
		LagSeconds: 0.25, Error: "x", Findings: []string{"a", "b"}, StartedAt: "2026-01-01T00:00:00Z",
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"phase":"Failed","lagSeconds":1e308,"findings":null,"fullSync":{"keys":-1},"future":{"a":[1]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ParseStatus(body)
		if err != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("it cannot be written again: %v", err)
		}
		back, err := ParseStatus(text)
		if err != nil {
			t.Fatalf("%s does not read back: %v", text, err)
		}
		if len(s.Findings) == 0 {
			s.Findings = nil
		}
		if !reflect.DeepEqual(s, back) {
			t.Errorf("%+v read back as %+v", s, back)
		}
	})
}
