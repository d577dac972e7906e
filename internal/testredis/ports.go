package testredis

import (
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// busOffset is the distance of a cluster node's bus port from its port.
const busOffset = 10000

// freePort returns a port that is free now, together with its cluster bus
// port. Both lie below the range from which the kernel takes outgoing ports.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12000 + rand.IntN(10000)
		if isFree(port) && isFree(port+busOffset) {
			return port
		}
	}
	t.Fatal("no free port between 12000 and 22000")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

var versions sync.Map // path of a binary -> its major version

var versionText = regexp.MustCompile(`v=(\d+)\.`)

func majorVersion(t testing.TB, binary string) int {
	t.Helper()
	if v, ok := versions.Load(binary); ok {
		return v.(int)
	}
	out, err := exec.Command(binary, "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --version: %v: %s", binary, err, out)
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		t.Fatalf("%s --version says no version: %s", binary, out)
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatalf("%s --version: %v", binary, err)
	}
	versions.Store(binary, major)
	return major
}
