package testredis

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakTimeout is how long what the last test has stopped may take to end.
const leakTimeout = 30 * time.Second

// Main runs the tests of a package and fails when goroutines that run or
// wait in one of these packages (parts of import paths) are left at the end.
// Call it from TestMain with os.Exit.
func Main(m *testing.M, packages ...string) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	var left []string
	for deadline := time.Now().Add(leakTimeout); ; time.Sleep(50 * time.Millisecond) {
		if left = goroutinesIn(packages); len(left) == 0 {
			return code
		}
		if time.Now().After(deadline) {
			break
		}
	}
	fmt.Fprintf(os.Stderr, "%d goroutines are left %v after the tests:\n\n%s\n", len(left), leakTimeout, strings.Join(left, "\n\n"))
	return 1
}

// goroutinesIn are the stacks of all goroutines but the own that have a frame
// in one of the packages.
func goroutinesIn(packages []string) []string {
	buf := make([]byte, 64<<10)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var out []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i == 0 {
			continue // the one that asks
		}
		for _, p := range packages {
			if strings.Contains(stack, p) {
				out = append(out, stack)
				break
			}
		}
	}
	return out
}
