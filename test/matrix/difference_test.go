package matrix

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestDifference changes one thing of a value at a time: the comparison must
// see it.
func TestDifference(t *testing.T) {
	whole := func() *value {
		return &value{
			kind: "hash", lines: []string{"a = 1", "b = 2"}, attrs: map[string]string{"length": "2"},
			times: map[string]int64{"seen-time": 100000}, fields: map[string]int64{"a": 5}, expire: 70000, idle: 3600, freq: 200, digest: "d",
		}
	}
	exact := measure{access: true, digest: true}
	for name, c := range map[string]struct {
		change func(*value)
		m      measure
		want   string // "" for no difference
	}{
		"nothing":                    {func(*value) {}, exact, ""},
		"type":                       {func(v *value) { v.kind = "list" }, exact, "type"},
		"an element":                 {func(v *value) { v.lines[1] = "b = 3" }, exact, "element 1"},
		"an element less":            {func(v *value) { v.lines = v.lines[:1] }, exact, "number of elements"},
		"an attribute":               {func(v *value) { v.attrs["length"] = "3" }, exact, "length"},
		"an attribute of one server": {func(v *value) { delete(v.attrs, "length") }, exact, ""},
		"no expiry":                  {func(v *value) { v.expire = -1 }, measure{between: time.Hour}, "expiry"},
		"expiry by 1 ms":             {func(v *value) { v.expire++ }, exact, "expiry"},
		"expiry by 1 ms, computed":   {func(v *value) { v.expire++ }, measure{between: time.Second}, ""},
		"a field without expiry":     {func(v *value) { delete(v.fields, "a") }, exact, "fields with an expiry"},
		"a field's expiry by 1 ms":   {func(v *value) { v.fields["a"]++ }, exact, "expiry of field a"},
		"seen at another time":       {func(v *value) { v.times["seen-time"] += 2 }, exact, "seen-time"},
		"seen a little later":        {func(v *value) { v.times["seen-time"] += 2000 }, measure{seen: 5 * time.Second}, ""},
		"idle":                       {func(v *value) { v.idle = 0 }, exact, "idle time"},
		"frequency":                  {func(v *value) { v.freq = 5 }, exact, "access frequency"},
		"digest":                     {func(v *value) { v.digest = "e" }, exact, "DEBUG DIGEST-VALUE"},
		"digest of another release":  {func(v *value) { v.digest = "e" }, measure{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			changed := whole()
			c.change(changed)
			diffs := difference(map[string]*value{"k": whole()}, map[string]*value{"k": changed}, c.m)
			if c.want == "" && len(diffs) > 0 || c.want != "" && (len(diffs) != 1 || !strings.Contains(diffs[0].text, c.want+": ")) {
				t.Errorf("difference = %v, want %q", diffs, c.want)
			}
		})
	}
	one, none := map[string]*value{"k": whole()}, map[string]*value{}
	if d := difference(one, none, exact); len(d) != 1 || d[0].String() != "k is missing on the target" {
		t.Errorf("a missing key: %v", d)
	}
	if d := difference(none, one, exact); len(d) != 1 || d[0].String() != "k is only on the target" {
		t.Errorf("a key too many: %v", d)
	}
}

// TestUnexpected judges outcomes.
func TestUnexpected(t *testing.T) {
	refusal := func(text string) error { return &endedError{text} }
	f := feature{name: "lists"}
	for name, c := range map[string]struct {
		o      outcome
		upward bool
		want   string
	}{
		"equal":                     {outcome{feature: f}, true, ""},
		"wrong":                     {outcome{feature: f, diffs: []string{"d"}}, false, "neither copied nor refused"},
		"stuck":                     {outcome{feature: f, err: &stuckError{"s"}}, false, "neither copied nor refused"},
		"crashed":                   {outcome{feature: f, err: errors.New("panic")}, false, "neither copied nor refused"},
		"refused upward":            {outcome{feature: f, err: refusal(`key "snap:lists:a"`)}, true, "the target can hold this"},
		"refused downward":          {outcome{feature: f, err: refusal(`key "snap:lists:a"`)}, false, ""},
		"refused in the stream":     {outcome{feature: f, stage: streamStage, err: refusal(`key "live:lists:a"`)}, false, "the target has commands for this"},
		"not to be held":            {outcome{feature: feature{name: "lists", holds: func(*end) bool { return false }}, stage: streamStage, err: refusal(`key "live:lists:a"`)}, false, ""},
		"refused without the key":   {outcome{feature: f, err: refusal("no")}, false, "the refusal does not name the key"},
		"refused what went through": {outcome{feature: f, stage: diskStage, err: refusal("no")}, false, "what was copied before is refused now"},
	} {
		if got := c.o.unexpected(&pairing{upward: c.upward}); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
