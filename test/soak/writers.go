package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	writerCount = 4
	keysPerKind = 120
	databases   = 3 // where both ends are no cluster
	// nearPrefix marks keys with deadlines of a few seconds. What becomes of
	// them depends on when their commands arrive; differences in them are
	// counted apart.
	nearPrefix = "near:"
)

// allowed says what may be written in a topology.
type allowed struct {
	databases  int
	crossSlot  bool // several keys of different slots in one command, which the source must take
	sourceFree bool // the source is no cluster: transactions over several slots
}

func (p topology) allows() allowed {
	a := allowed{databases: 1, crossSlot: p.source != cluster, sourceFree: p.source != cluster}
	if p.source != cluster && p.target != cluster {
		a.databases = databases
	}
	return a
}

// writers write to a side until stopped.
type writers struct {
	gate sync.RWMutex // held for writing while they are paused
	wg   sync.WaitGroup
	stop context.CancelFunc
}

func startWriters(ctx context.Context, s *side, a allowed, r *report, seed uint64, perSecond int) *writers {
	ctx, stop := context.WithCancel(ctx)
	w := &writers{stop: stop}
	for i := range writerCount {
		g := &generator{rnd: rand.New(rand.NewPCG(seed, uint64(i)+100)), allowed: a}
		w.wg.Go(func() { w.run(ctx, newClient(s, r), g, r, perSecond) })
	}
	return w
}

// end stops all writers and waits for them.
func (w *writers) end() {
	w.stop()
	w.wg.Wait()
}

// pause stops writing until resume is called.
func (w *writers) pause() (resume func()) {
	w.gate.Lock()
	return w.gate.Unlock
}

func (w *writers) run(ctx context.Context, c *client, g *generator, r *report, perSecond int) {
	defer c.close()
	interval := time.Second * writerCount / time.Duration(perSecond)
	next := time.Now()
	for ctx.Err() == nil {
		key, commands := g.next()
		w.gate.RLock()
		c.run(ctx, key, commands)
		w.gate.RUnlock()
		r.mu.Lock()
		r.commands += int64(len(commands))
		r.mu.Unlock()
		next = next.Add(interval * time.Duration(len(commands)))
		if late := time.Since(next); late > time.Second {
			next = time.Now() // after an outage it does not catch up
		} else if late < 0 {
			pause(ctx, -late)
		}
	}
}

// generator makes commands whose result depends on each being applied exactly
// once and in order.
type generator struct {
	rnd     *rand.Rand
	allowed allowed
}

type command = []string

// next returns commands for the server of one key.
func (g *generator) next() (key string, commands []command) {
	k := strconv.Itoa(g.rnd.IntN(keysPerKind))
	v := strconv.Itoa(g.rnd.IntN(1 << 30))
	switch n := g.rnd.IntN(1000); {
	case n < 1:
		key, commands = g.big(k)
	case n < 60:
		key, commands = g.near(k, v)
	case n < 160:
		key, commands = g.transaction(k, v)
	case n < 260:
		key, commands = g.script(k, v)
	case n < 380:
		key, commands = g.several(k, v)
	default:
		key, commands = g.single(k, v)
	}
	if g.allowed.databases > 1 {
		db := strconv.Itoa(g.rnd.IntN(g.allowed.databases))
		commands = append([]command{{"SELECT", db}}, commands...)
	}
	return key, commands
}

// single is one command with one key.
func (g *generator) single(k, v string) (string, []command) {
	one := func(args ...string) (string, []command) { return args[1], []command{args} }
	switch g.rnd.IntN(30) {
	case 0, 1, 2:
		return one("INCR", "n:"+k)
	case 3:
		return one("INCRBYFLOAT", "f:"+k, "0."+v)
	case 4, 5:
		return one("APPEND", "a:"+k, v)
	case 6, 7:
		return one("LPUSH", "l:"+k, v, v+"b")
	case 8, 9, 10:
		return one("RPOP", "l:"+k)
	case 11, 12:
		return one("XADD", "x:"+k, "MAXLEN", "~", "500", "*", "f", v, "g", k)
	case 13:
		return one("ZINCRBY", "z:"+k, "1.5", "m"+v[:1])
	case 14:
		return one("HINCRBY", "h:"+k, "f"+v[:1], "3")
	case 15:
		return one("SETRANGE", "s:"+k, strconv.Itoa(g.rnd.IntN(5000)), v)
	case 16:
		return one("EXPIRE", "n:"+k, strconv.Itoa(10000+g.rnd.IntN(10000)))
	case 17:
		return one("PERSIST", "n:"+k)
	case 18:
		return one("SET", "v:"+k, v)
	case 19:
		return one("DEL", "v:"+k)
	case 20:
		return one("SADD", "t:"+k, v)
	case 21:
		return one("SPOP", "t:"+k)
	case 22:
		return one("HINCRBYFLOAT", "h:"+k, "float", "1.25")
	case 23:
		return one("SETBIT", "b:"+k, strconv.Itoa(g.rnd.IntN(100000)), strconv.Itoa(g.rnd.IntN(2)))
	case 24:
		return one("PFADD", "p:"+k, v)
	case 25:
		return one("GETDEL", "a:"+k)
	case 26:
		return one("ZPOPMIN", "z:"+k)
	case 27:
		return one("LTRIM", "l:"+k, "0", "300")
	case 28:
		return one("GETEX", "a:"+k, "EX", strconv.Itoa(10000+g.rnd.IntN(10000)))
	}
	return one("SET", "v:"+k, v, "PX", strconv.Itoa(10000000+g.rnd.IntN(1000)))
}

// tag makes the keys of a command share a slot.
func tag(k, name string) string { return "{" + k + "}" + name }

// several is a command with several keys.
func (g *generator) several(k, v string) (string, []command) {
	a, b := tag(k, "a"), tag(k, "b")
	if g.allowed.crossSlot {
		switch g.rnd.IntN(10) {
		case 0:
			return a, []command{{"MSET", "m:" + k, v, "m:" + v[:1], v, "m:2" + k, v}}
		case 1:
			return a, []command{{"DEL", "m:" + k, "v:" + k, "a:" + k}}
		case 2:
			return a, []command{{"SET", "r:" + k, v}, {"RENAME", "r:" + k, "r2:" + v[:1]}, {"APPEND", "r2:" + v[:1], "+"}}
		case 3:
			return a, []command{{"LMOVE", "l:" + k, "l:" + v[:1], "LEFT", "RIGHT"}}
		case 4:
			return a, []command{{"SADD", "t:" + k, v}, {"SMOVE", "t:" + k, "t:" + v[:1], v}}
		case 5:
			return a, []command{{"SUNIONSTORE", "u:" + v[:1], "t:" + k, "t:" + v[:1]}, {"SPOP", "u:" + v[:1]}}
		case 6:
			return a, []command{{"COPY", "n:" + k, "n:" + v[:1], "REPLACE"}, {"INCR", "n:" + v[:1]}}
		case 7:
			return a, []command{{"MSETNX", "x1:" + v, v, "x2:" + v, v}, {"RENAME", "x1:" + v, tag(k, "x")}, {"RENAME", tag(k, "x"), tag(k, "y")}, {"DEL", "x2:" + v}}
		}
	}
	switch g.rnd.IntN(7) {
	case 0:
		return a, []command{{"SET", a, v}, {"RENAME", a, b}}
	case 1:
		return a, []command{{"MSET", a, v, b, v}}
	case 2:
		return a, []command{{"RPUSH", tag(k, "from"), v}, {"LMOVE", tag(k, "from"), tag(k, "to"), "LEFT", "RIGHT"}}
	case 3:
		return a, []command{{"SADD", tag(k, "s1"), v}, {"SADD", tag(k, "s2"), v, "x"}, {"SUNIONSTORE", tag(k, "s3"), tag(k, "s1"), tag(k, "s2")}}
	case 4:
		return a, []command{{"COPY", b, tag(k, "c"), "REPLACE"}}
	case 5:
		return a, []command{{"APPEND", tag(k, "d"), v}, {"BITOP", "XOR", tag(k, "e"), a, b}}
	}
	return a, []command{{"DEL", a, b, tag(k, "s1"), tag(k, "d")}}
}

// transaction is a MULTI block.
func (g *generator) transaction(k, v string) (string, []command) {
	x, y := tag(k, "tx"), tag(k, "ty")
	if g.allowed.sourceFree {
		x, y = "tx:"+k, "ty:"+v[:1]
	}
	commands := []command{
		{"MULTI"},
		{"INCR", x},
		{"RPUSH", y, v},
		{"HINCRBY", tag(k, "th"), "f", "1"},
		{"LTRIM", y, "-200", "-1"},
	}
	if g.allowed.databases > 1 && g.rnd.IntN(3) == 0 {
		commands = append(commands, command{"SELECT", strconv.Itoa(g.rnd.IntN(g.allowed.databases))}, command{"INCR", x})
	}
	if g.rnd.IntN(10) == 0 {
		return x, append(commands, command{"DISCARD"})
	}
	return tag(k, "tx"), append(commands, command{"EXEC"})
}

// script is Lua with several effects.
func (g *generator) script(k, v string) (string, []command) {
	x, y := tag(k, "ex"), tag(k, "ey")
	if g.allowed.sourceFree {
		x, y = "ex:"+k, "ey:"+v[:1]
	}
	const text = "local n = redis.call('INCR', KEYS[1]) " +
		"redis.call('LPUSH', KEYS[2], ARGV[1] .. ':' .. n) " +
		"if n % 7 == 0 then redis.call('DEL', KEYS[2]) end " +
		"if n % 5 == 0 then redis.call('LTRIM', KEYS[2], 0, 100) end " +
		"return n"
	return x, []command{{"EVAL", text, "2", x, y, v}}
}

// near sets deadlines of a few seconds and lifts them again.
func (g *generator) near(k, v string) (string, []command) {
	key := nearPrefix + k
	ms := strconv.Itoa(500 + g.rnd.IntN(6000))
	switch g.rnd.IntN(5) {
	case 0:
		return key, []command{{"SET", key, v, "PX", ms}}
	case 1:
		return key, []command{{"INCR", key}}
	case 2:
		return key, []command{{"PERSIST", key}}
	case 3:
		return key, []command{{"GETEX", key, "PX", ms}}
	}
	return key, []command{{"PEXPIRE", key, ms}}
}

// big writes values of up to some megabytes.
func (g *generator) big(k string) (string, []command) {
	n := 1 + g.rnd.IntN(4<<20)
	text := strings.Repeat(fmt.Sprintf("%s-%d ", k, g.rnd.IntN(1000)), n/8+1)
	k = strconv.Itoa(g.rnd.IntN(5))
	switch g.rnd.IntN(4) {
	case 0:
		return "big:" + k, []command{{"SET", "big:" + k, text}}
	case 1:
		return "big:" + k, []command{{"APPEND", "big:" + k, text[:min(len(text), 100000)]}, {"SETRANGE", "big:" + k, strconv.Itoa(g.rnd.IntN(len(text))), "x"}}
	case 2:
		push := command{"RPUSH", "biglist:" + k}
		for i := range 2000 {
			push = append(push, strconv.Itoa(i), text[:min(len(text), 100)])
		}
		return "biglist:" + k, []command{{"DEL", "biglist:" + k}, push}
	}
	set := command{"HSET", "bighash:" + k}
	for i := range 3000 {
		set = append(set, "field"+strconv.Itoa(i), strconv.Itoa(n))
	}
	return "bighash:" + k, []command{set}
}
