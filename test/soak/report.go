package soak

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"
)

// report collects what happened in one topology. Anything failed in it fails
// the test.
type report struct {
	logf func(format string, args ...any)

	mu        sync.Mutex
	began     time.Time
	disturbed map[string]int // by name
	resyncs   map[string]int // "partial", and "full: <reason>"
	rewound   int
	errors    map[string]int // of /status, by text without addresses
	maxLag    float64
	failures  []string
	commands  int64
	refused   map[string]int // error replies to writers, by code
}

func newReport(logf func(string, ...any)) *report {
	return &report{
		logf: logf, began: time.Now(), disturbed: map[string]int{}, resyncs: map[string]int{},
		errors: map[string]int{}, refused: map[string]int{},
	}
}

// fail notes a violation; the run goes on.
func (r *report) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.failures = append(r.failures, time.Now().UTC().Format("15:04:05.000 ")+text)
	r.mu.Unlock()
	r.logf("VIOLATION: %s", text)
}

// count notes a disturbance.
func (r *report) count(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disturbed[name]++
}

func (r *report) refuse(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[code]++
}

var (
	reasonText = regexp.MustCompile(`reason="([^"]*)"`)
	addrText   = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+(->\d+\.\d+\.\d+\.\d+:\d+)?`)
	idText     = regexp.MustCompile(`\b[0-9a-f]{40}\b`)
	numberText = regexp.MustCompile(`\b\d+\b`)
)

// plain takes addresses and numbers out of a text, so that equal reasons are
// counted together.
func plain(text string) string {
	text, _, _ = strings.Cut(text, "\n") // of several causes the first
	text, _, _ = strings.Cut(text, `\n`)
	text = addrText.ReplaceAllString(text, "A")
	text = idText.ReplaceAllString(text, "ID")
	text = numberText.ReplaceAllString(text, "N")
	if len(text) > 160 {
		text = text[:160] + "..."
	}
	return text
}

// line counts what a replicator says about resyncs.
func (r *report) line(shard int, line string) {
	if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
		r.fail("shard %d: %s", shard, line)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.Contains(line, `msg="partial resync"`):
		r.resyncs["partial"]++
	case strings.Contains(line, `msg="full copy begins"`):
		reason := "no reason given"
		if m := reasonText.FindStringSubmatch(line); m != nil {
			reason = m[1]
		}
		r.resyncs["full: "+plain(reason)]++
	case strings.Contains(line, "the target lost acknowledged writes"):
		r.rewound++
	}
}

func (r *report) status(lag float64, err string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.maxLag = max(r.maxLag, lag)
	if err != "" {
		r.errors[plain(err)]++
	}
}

// kills is the number of disturbances of all kinds.
func (r *report) kills() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.disturbed {
		n += c
	}
	return n
}

// full counts full copies.
func (r *report) full() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for name, c := range r.resyncs {
		if strings.HasPrefix(name, "full") {
			n += c
		}
	}
	return n
}

// String is the result for people.
func (r *report) String() string {
	kills := r.kills()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f s, %d write commands, %d disturbances, lag at most %.1f s, %d times the target had lost acknowledged writes\n",
		time.Since(r.began).Seconds(), r.commands, kills, r.maxLag, r.rewound)
	table(&b, "disturbances", r.disturbed)
	table(&b, "resyncs", r.resyncs)
	table(&b, "samples of /status with an error", r.errors)
	table(&b, "error replies to writers", r.refused)
	for _, f := range r.failures {
		fmt.Fprintf(&b, "  VIOLATION %s\n", f)
	}
	return b.String()
}

func table(b *strings.Builder, title string, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	names := make([]string, 0, len(counts))
	for n := range counts {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		if counts[names[i]] != counts[names[j]] {
			return counts[names[i]] > counts[names[j]]
		}
		return names[i] < names[j]
	})
	fmt.Fprintf(b, "  %s:\n", title)
	for _, n := range names {
		fmt.Fprintf(b, "    %6d %s\n", counts[n], n)
	}
}
