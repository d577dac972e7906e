package matrix

import (
	"errors"
	"fmt"
	"strings"
)

// outcome is what happened to one kind of data.
type outcome struct {
	feature feature
	stage   string
	diffs   []string
	err     error
}

func (p *pairing) note(f feature, stage string, diffs []string, err error) {
	p.outcomes = append(p.outcomes, outcome{f, stage, diffs, err})
}

func (o outcome) equal() bool { return o.err == nil && len(o.diffs) == 0 }

func (o outcome) refused() bool {
	var ended *endedError
	return errors.As(o.err, &ended)
}

func (o outcome) String() string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case len(o.diffs) > 0:
		n := min(3, len(o.diffs))
		return fmt.Sprintf("WRONG: %d differences: %s", len(o.diffs), strings.Join(o.diffs[:n], "; "))
	}
	return "equal"
}

// unexpected says what is not allowed about an outcome: an upward copy must
// be equal; in another one, what the target cannot hold must be refused with a
// text that names what it is.
func (o outcome) unexpected(p *pairing) string {
	switch {
	case o.equal():
		return ""
	case !o.refused():
		return "neither copied nor refused"
	case o.stage == diskStage:
		return "what was copied before is refused now"
	case p.upward, o.isValue() && o.avoidable(p.dst):
		return "the target can hold this"
	case o.stage == streamStage && o.avoidable(p.dst):
		return "the target has commands for this"
	case !o.namesKey():
		return "the refusal does not name the key"
	case o.feature.name == "vector sets" && !(strings.Contains(o.err.Error(), "vector set") && strings.Contains(o.err.Error(), "vectorset") && strings.Contains(o.err.Error(), p.dst.binary.Version)):
		return "the refusal does not say that it is a vector set, and of what version the target is"
	}
	return ""
}

// isValue says of a refusal that it is one of a value, not of a command: every
// value that the target can hold has to be written there.
func (o outcome) isValue() bool {
	return strings.Contains(o.err.Error(), "cannot be written to the target")
}

// avoidable says of a refusal that the target could hold the data, if it came
// by other commands.
func (o outcome) avoidable(dst *end) bool {
	return o.refused() && (o.feature.holds == nil || o.feature.holds(dst))
}

// namesKey says whether a refusal names a key of its kind of data, or what is
// no key: a function library, and the keys that have no prefix.
func (o outcome) namesKey() bool {
	text, name := o.err.Error(), o.feature.name
	return name == "functions" || name == "keys" || strings.Contains(text, "snap:"+name) || strings.Contains(text, "live:"+name) || strings.Contains(text, "live:{"+name+"}")
}
