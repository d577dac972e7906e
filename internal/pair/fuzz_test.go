package pair

import (
	"os"
	"reflect"
	"testing"
)

// FuzzRecord reads a record as anybody may have edited it. What this build
// takes it must be able to write again, and read as the same.
func FuzzRecord(f *testing.F) {
	body, err := os.ReadFile("testdata/record-v1.json")
	if err != nil {
		f.Fatal(err)
	}
	const journal = "2023-11-14T22:13:20Z 4fe1 apply op@host begin: something\n"
	f.Add("1", "dr1", "InSync", "3", "east", "false", string(body), journal, "future")
	f.Add("1", "dr1", "InSync", "3", "a", "true", `{"spec":{"sites":[{"name":"a"},{"name":"b"}],"new":{"x":[1]}},"sites":{"a":{"new":1}},"shards":[{"slots":"0-5,7"}],"more":null}`, "", "")
	f.Fuzz(func(t *testing.T, schema, name, phase, epoch, primary, paused, body, journal, unknown string) {
		data := map[string]string{
			keySchemaVersion: schema, keyPair: name, keyPhase: phase, keyEpoch: epoch, keyPrimary: primary, keyPaused: paused,
			keyBody: body, keyJournal: journal, "x-" + unknown: unknown,
		}
		r, err := RecordFromData(data)
		if err != nil {
			return
		}
		written, err := r.Data()
		if err != nil {
			t.Fatalf("it cannot be written: %v", err)
		}
		if written["x-"+unknown] != unknown {
			t.Error("a key of a later version is lost")
		}
		back, err := RecordFromData(written)
		if err != nil {
			t.Fatalf("it does not read back: %v\n%s", err, written[keyBody])
		}
		again, err := back.Data()
		if err != nil {
			t.Fatalf("it cannot be written again: %v", err)
		}
		if !reflect.DeepEqual(written, again) {
			t.Errorf("written as %v, and then as %v", written, again)
		}
		if back.Epoch != r.Epoch || back.Primary != r.Primary || back.Phase != r.Phase || back.Paused != r.Paused {
			t.Errorf("%+v read back as %+v", r, back)
		}
		if _, err := Newer(r, back); err != nil {
			t.Errorf("a record contradicts itself: %v", err)
		}
	})
}

// FuzzParse reads a pair.yaml.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/pair.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.APIVersion != APIVersion || p.Kind != Kind {
			t.Errorf("accepted %s %s", p.APIVersion, p.Kind)
		}
		_ = p.Default()
	})
}
