package apply

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

// deniedBeforeExec lets w write a batch, and changes the rights of its user
// after the server has queued all of it and before its EXEC. They are given
// back as soon as w waits. It returns what w has waited for.
func deniedBeforeExec(t *testing.T, rules []string, commands ...[]string) (s *testredis.Server, w *Standalone, waited *[]string, err error) {
	t.Helper()
	s = testredis.Start(t)
	o := options(s.Addr)
	var waits []string
	armed := false
	o.Waiting = func(err error) {
		switch {
		case err != nil:
			waits = append(waits, err.Error())
			s.Do(t, "ACL", "SETUSER", "default", "+@all")
		case armed: // the batch before was answered
			armed = false
			testredis.Eventually(t, 20*time.Second, "the batch to be queued", func() bool {
				// A SELECT of its database, where it has one, and the checkpoint.
				for line := range strings.Lines(s.Do(t, "CLIENT", "LIST").(string)) {
					if at := strings.Index(line, " multi="); at >= 0 && !strings.HasPrefix(line[at:], " multi=-1") && strings.Contains(line, "cmd=hset") {
						return true
					}
				}
				return false
			})
			s.Do(t, append([]string{"ACL", "SETUSER", "default"}, rules...)...)
		}
	}
	w = NewStandalone(o)
	copied(t, w)
	write(t, w, 150, "SET", "before", "1")
	write(t, w, 160, "SET", "kept", "v", "PX", "1000000")
	must(t, w.Flush(t.Context(), true))
	write(t, w, 170, "INCR", "before")
	must(t, w.Flush(t.Context(), false)) // in flight
	for i, c := range commands {
		must(t, w.Write(t.Context(), command(t, c...), 0, at(200+int64(i))))
	}
	armed = true
	err = w.Flush(t.Context(), true)
	s.Do(t, "ACL", "SETUSER", "default", "+@all")
	return s, w, &waits, err
}

// TestDeniedBeforeExec: a user that loses the right to write between MULTI and
// EXEC has written nothing. The batch waits for the right, whatever it begins
// with, and is applied once.
func TestDeniedBeforeExec(t *testing.T) {
	t.Parallel()
	incr := []string{"INCR", "n"}
	for name, commands := range map[string][][]string{
		"a command":  {incr, incr},
		"a script":   {{"EVAL", "redis.call('GET',KEYS[1]) return redis.call('INCR',KEYS[1])", "1", "n"}, incr},
		"swallowed":  {{"EVAL", "redis.pcall('INCR',KEYS[1]) return 1", "1", "n"}, incr},
		"a deadline": {{"PERSIST", "kept"}, incr, incr},
		"a message":  {{"PUBLISH", "c", "m"}, incr, incr},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w, waited, err := deniedBeforeExec(t, []string{"-@write"}, commands...)
			must(t, err)
			if len(*waited) == 0 || !strings.Contains((*waited)[0], "NOPERM") {
				t.Fatalf("it waited for %q, want NOPERM", *waited)
			}
			wantValue(t, s, "n", "2")
			wantValue(t, s, "before", "2")
			if _, pos := takeAgain(t, s, w); pos != 200+int64(len(commands))-1 {
				t.Errorf("the checkpoint is at %d", pos)
			}
		})
	}
}

// TestDeniedInTheMiddle: where something was written before the checkpoint was
// refused, the batch is not done again: the copy is void.
func TestDeniedInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules    []string
		commands []string
	}{
		"the checkpoint alone": {[]string{"-hset"}, []string{"INCR", "n"}},
		"one command":          {[]string{"-append"}, []string{"APPEND", "kept", "v"}},
		"half a script":        {[]string{"-hset", "-append"}, []string{"EVAL", "redis.call('INCR',KEYS[1]) return redis.call('APPEND',KEYS[1],'0')", "1", "n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _, err := deniedBeforeExec(t, c.rules, c.commands)
			var data *DataError
			if !errors.As(err, &data) {
				t.Errorf("it ended with %v", err)
			}
			if name != "one command" {
				wantValue(t, s, "n", "1")
			}
			if state := checkpointState(t, s); state != "full" {
				t.Errorf("the checkpoint says %v", state)
			}
		})
	}
}

// takeAgain is the next process, and where it begins.
func takeAgain(t *testing.T, s *testredis.Server, w *Standalone) (*Standalone, int64) {
	t.Helper()
	must(t, w.Close())
	next := NewStandalone(options(s.Addr))
	ck, err := next.Take(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = next.Close() })
	if !ck.Usable() {
		t.Fatal("the checkpoint is void")
	}
	return next, ck.Pos.Offset
}
