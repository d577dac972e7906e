package plugin

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/redis-sync/kubectl-redis-sync/internal/execute"
)

// progress shows what a verb does: a bar per shard on a terminal, lines
// elsewhere.
type progress interface {
	execute.Progress
	Close()
}

func newProgress(out io.Writer) progress {
	if hasRoom(out) {
		return &barProgress{lineProgress: lineProgress{out: out}}
	}
	return &lineProgress{out: out}
}

// hasRoom tells a terminal that says how large it is: on one of size 0, as some
// programs make it, nothing of a bar would be seen.
func hasRoom(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || !isTerminal(out) {
		return false
	}
	width, height, err := term.GetSize(int(file.Fd())) //nolint:gosec // a file descriptor
	return err == nil && width > 0 && height > 0
}

// lineInterval is how often lines repeat a state that only counts up.
const lineInterval = 5 * time.Second

// lineProgress prints a line per step, and per shard when its phase changes or
// the interval has passed.
type lineProgress struct {
	out    io.Writer
	phases map[int]string
	at     map[int]time.Time
}

func (p *lineProgress) StepStarted(string) {}

func (p *lineProgress) StepEnded(name string, err error, took time.Duration) {
	if err != nil {
		fmt.Fprintf(p.out, "x  %s: failed after %.1f s\n", name, took.Seconds())
		return
	}
	fmt.Fprintf(p.out, "ok %s (%.1f s)\n", name, took.Seconds())
}

func (p *lineProgress) Shards(shards []execute.ShardProgress) {
	if p.phases == nil {
		p.phases, p.at = map[int]string{}, map[int]time.Time{}
	}
	for _, s := range shards {
		phase := shardPhase(s)
		if p.phases[s.Shard] == phase && (s.InSync || time.Since(p.at[s.Shard]) < lineInterval) {
			continue
		}
		p.phases[s.Shard], p.at[s.Shard] = phase, time.Now()
		fmt.Fprintf(p.out, "   shard %d (%s): %s\n", s.Shard, s.Slots, escapeLines(shardText(s)))
	}
}

func (p *lineProgress) Close() {}

func shardPhase(s execute.ShardProgress) string {
	if s.InSync {
		return "in sync"
	}
	return s.Phase
}

// shardText is one shard's state: phase, what is done of what, and the lag.
func shardText(s execute.ShardProgress) string {
	text := shardPhase(s)
	if s.Keys > 0 || s.TotalKeys > 0 {
		text += fmt.Sprintf(", %d of about %d keys", s.Keys, max(s.TotalKeys, s.Keys))
	}
	if s.Bytes > 0 {
		text += ", " + bytesText(s.Bytes)
		if s.TotalBytes > 0 {
			text += " of " + bytesText(s.TotalBytes)
		}
	}
	if !s.InSync && s.LagBytes > 0 {
		text += fmt.Sprintf(", %s (%.1f s) behind", bytesText(s.LagBytes), s.LagSeconds)
	}
	return text
}

// barProgress draws a bar per shard while there are shards to show. Its methods
// are called by one goroutine; the bars draw themselves in others.
type barProgress struct {
	lineProgress
	pool *mpb.Progress
	bars map[int]*mpb.Bar

	mu     sync.Mutex // guards latest, and is never held while a bar is called
	latest map[int]execute.ShardProgress
}

func (p *barProgress) StepEnded(name string, err error, took time.Duration) {
	p.Close()
	p.lineProgress.StepEnded(name, err, took)
}

func (p *barProgress) Shards(shards []execute.ShardProgress) {
	if p.pool == nil {
		p.pool = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
		p.bars = map[int]*mpb.Bar{}
	}
	for _, s := range shards {
		p.remember(s)
		bar := p.bars[s.Shard]
		if bar == nil {
			bar = p.newBar(s.Shard)
			p.bars[s.Shard] = bar
		}
		bar.SetCurrent(share(s))
	}
}

func (p *barProgress) remember(s execute.ShardProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest == nil {
		p.latest = map[int]execute.ShardProgress{}
	}
	p.latest[s.Shard] = s
}

func (p *barProgress) text(shard int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return " " + escapeLines(shardText(p.latest[shard]))
}

// full is the length of a bar, in parts of a shard's full copy.
const full = 1000

// share is how much of a shard's full copy is done. Only a shard in sync is
// full: what the source estimated may be too little.
func share(s execute.ShardProgress) int64 {
	switch {
	case s.InSync:
		return full
	case s.TotalBytes > 0:
		return min(full-1, s.Bytes*full/s.TotalBytes)
	case s.TotalKeys > 0:
		return min(full-1, s.Keys*full/s.TotalKeys)
	default:
		return 0
	}
}

func (p *barProgress) newBar(shard int) *mpb.Bar {
	return p.pool.AddBar(full,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("shard %d ", shard))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.text(shard) })))
}

// Close ends the bars where they are and leaves them on the screen.
func (p *barProgress) Close() {
	if p.pool == nil {
		return
	}
	for _, bar := range p.bars {
		bar.Abort(false)
	}
	p.pool.Wait()
	p.pool, p.bars = nil, nil
}
