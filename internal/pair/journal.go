package pair

import (
	"fmt"
	"strings"
	"time"
)

// JournalLine says what a verb was about to do or has done.
type JournalLine struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation"` // identifies one run of a verb
	Verb      Verb      `json:"verb"`
	By        string    `json:"by"` // who, as the API server names them
	Text      string    `json:"text"`
}

// Bounds of the journal in the record: a ConfigMap holds 1 MiB at most.
const (
	maxJournalLines = 300
	maxJournalText  = 400
)

// String is the line as the record holds it: time, operation, verb, user and
// text, separated by single spaces.
func (l JournalLine) String() string {
	text := strings.Join(strings.Fields(l.Text), " ")
	if len(text) > maxJournalText {
		text = strings.ToValidUTF8(text[:maxJournalText], "") + "..."
	}
	return fmt.Sprintf("%s %s %s %s %s", l.At.UTC().Format(time.RFC3339),
		word(l.Operation), word(string(l.Verb)), word(l.By), text)
}

// word makes one non-empty word of s.
func word(s string) string {
	s = strings.Join(strings.Fields(s), "_")
	if s == "" {
		return "-"
	}
	return s
}

// parseJournalLine reads what String writes.
func parseJournalLine(text string) (JournalLine, error) {
	parts := strings.SplitN(text, " ", 5)
	if len(parts) != 5 {
		return JournalLine{}, fmt.Errorf("journal line %q: expected time, operation, verb, user and text", text)
	}
	at, err := time.Parse(time.RFC3339, parts[0])
	if err != nil {
		return JournalLine{}, fmt.Errorf("journal line %q: %w", text, err)
	}
	return JournalLine{At: at, Operation: parts[1], Verb: Verb(parts[2]), By: parts[3], Text: parts[4]}, nil
}

// encodeJournal keeps the last lines within the bound.
func encodeJournal(lines []JournalLine) string {
	if len(lines) > maxJournalLines {
		lines = lines[len(lines)-maxJournalLines:]
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func decodeJournal(text string) ([]JournalLine, error) {
	var lines []JournalLine
	for _, raw := range strings.Split(text, "\n") {
		if strings.TrimSpace(raw) == "" {
			continue
		}
		line, err := parseJournalLine(raw)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// lastJournal is the time of the last line; the zero time without one.
func lastJournal(r *Record) time.Time {
	if len(r.Journal) == 0 {
		return time.Time{}
	}
	return r.Journal[len(r.Journal)-1].At
}
