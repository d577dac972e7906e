package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// row is one way of doing what a scenario asks for.
type row struct {
	name    string
	measure func(t *testing.T) usage
}

// goal bounds our row against another one of the scenario.
type goal struct {
	against string
	ratio   float64       // of the wall clock; 0: none
	cpu     time.Duration // of our row; 0: none
	rss     int64         // bytes; 0: none
}

const ours = "redis-sync"

// table collects the lines of `make bench`.
type table struct {
	text   strings.Builder
	ratios map[string]float64 // "scenario / reference" -> median of ours / median of the reference
}

// measure runs the rows in turns and adds them to the table.
func (b *table) measure(t *testing.T, scenario string, rows []row, goals ...goal) {
	t.Helper()
	if only := os.Getenv("BENCH_ONLY"); only != "" && !regexp.MustCompile(only).MatchString(scenario) {
		return
	}
	runs := number(t, "BENCH_RUNS", 3)
	all := map[string][]usage{}
	for i := range runs {
		for _, r := range rows {
			t.Run(fmt.Sprintf("%s/%s/%d", scenario, r.name, i+1), func(t *testing.T) {
				u := r.measure(t)
				t.Logf("wall %.2f s, cpu %.2f s, peak %d MB", u.wall.Seconds(), u.cpu.Seconds(), u.rss>>20)
				all[r.name] = append(all[r.name], u)
			})
			if t.Failed() {
				t.Fatalf("%s: %s failed", scenario, r.name)
			}
		}
	}
	own := medians(all[ours])
	fmt.Fprintf(&b.text, "\n%s\t wall s\t min-max\t ours/this\t cpu s\t servers' cpu s\t peak MB\t goal\n", scenario)
	for _, r := range rows {
		m := medians(all[r.name])
		ratio := own.wall.Seconds() / m.wall.Seconds()
		b.ratios[scenario+" / "+r.name] = ratio
		walls := all[r.name]
		slices.SortFunc(walls, func(a, b usage) int { return cmp.Compare(a.wall, b.wall) })
		fmt.Fprintf(&b.text, "  %s\t %s\t %s-%s\t %.2f\t %s\t %s\t %s\t %s\n", r.name, seconds(m.wall), seconds(walls[0].wall),
			seconds(walls[len(walls)-1].wall), ratio, known(m.cpu > 0, "%.2f", m.cpu.Seconds()), known(m.servers > 0, "%.2f", m.servers.Seconds()), known(m.rss > 0, "%d", m.rss>>20), verdict(r.name, own, ratio, goals))
	}
}

// verdict compares with what is wanted.
func verdict(name string, own usage, ratio float64, goals []goal) string {
	var parts []string
	say := func(what string, met bool) {
		parts = append(parts, what+map[bool]string{true: " met", false: " MISSED"}[met])
	}
	for _, g := range goals {
		if g.against == name && g.ratio > 0 {
			say(fmt.Sprintf("<= %.2f", g.ratio), ratio <= g.ratio)
		}
		if name != ours {
			continue
		}
		if g.cpu > 0 {
			say(fmt.Sprintf("cpu <= %.1f s", g.cpu.Seconds()), own.cpu <= g.cpu)
		}
		if g.rss > 0 {
			say(fmt.Sprintf("<= %d MB", g.rss>>20), own.rss <= g.rss)
		}
	}
	return strings.Join(parts, ", ")
}

// known formats a figure that not every row has.
func known(known bool, format string, figure any) string {
	if !known {
		return "-"
	}
	return fmt.Sprintf(format, figure)
}

func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.5f", d.Seconds())
	}
	return fmt.Sprintf("%.2f", d.Seconds())
}

// medians takes the median of each figure by itself.
func medians(all []usage) usage {
	if len(all) == 0 {
		return usage{}
	}
	return usage{
		wall:    middle(all, func(u usage) time.Duration { return u.wall }),
		cpu:     middle(all, func(u usage) time.Duration { return u.cpu }),
		servers: middle(all, func(u usage) time.Duration { return u.servers }),
		rss:     middle(all, func(u usage) int64 { return u.rss }),
	}
}

func middle[T cmp.Ordered](all []usage, of func(usage) T) T {
	var list []T
	for _, u := range all {
		list = append(list, of(u))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: expected a number from 1", name, text)
	}
	return n
}

const recordFile = "recorded.json"

// tolerance is how much worse than recorded a ratio may be.
const tolerance = 1.10

// print shows the table, and compares it with the recorded ratios or records
// it, as asked.
func (b *table) print(t *testing.T) {
	t.Helper()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, b.text.String())
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	recorded := map[string]float64{}
	text, err := os.ReadFile(recordFile)
	if err == nil {
		err = json.Unmarshal(text, &recorded)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatalf("%s: %v", recordFile, err)
	}
	if os.Getenv("BENCH_CHECK") == "1" {
		compared := 0
		for name, ratio := range b.ratios {
			before, ok := recorded[name]
			if !ok || strings.HasSuffix(name, " / "+ours) {
				continue
			}
			compared++
			if ratio > before*tolerance {
				t.Errorf("%s: ratio %.2f, recorded %.2f: more than 10 %% lost", name, ratio, before)
			}
		}
		if compared == 0 {
			t.Errorf("nothing to compare with in %s: record first (BENCH_RECORD=1)", recordFile)
		}
	}
	if os.Getenv("BENCH_RECORD") == "1" {
		for name, ratio := range b.ratios {
			if !strings.HasSuffix(name, " / "+ours) {
				recorded[name] = float64(int(ratio*100+0.5)) / 100
			}
		}
		out, err := json.MarshalIndent(recorded, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(recordFile, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
