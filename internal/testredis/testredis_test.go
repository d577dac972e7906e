package testredis_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

func TestServer(t *testing.T) {
	s := testredis.Start(t, "--requirepass", "secret")
	s.Do(t, "SET", "k", "v")
	if got := s.Do(t, "GET", "k"); got != "v" {
		t.Fatalf("GET k = %v, want v", got)
	}
	if _, err := testredis.Dial(s.Addr, "wrong"); err == nil {
		t.Fatal("a wrong password was accepted")
	}
	r := testredis.StartReplica(t, s)
	testredis.Eventually(t, 5*time.Second, "the replica has the key", func() bool { return r.Do(t, "GET", "k") == "v" })
	s.Restart(t)
	if got := s.Do(t, "GET", "k"); got != nil {
		t.Fatalf("GET k after a restart without persistence = %v, want nil", got)
	}
}

func TestSentinel(t *testing.T) {
	m := testredis.Start(t)
	s := testredis.StartSentinel(t, m, "mymaster")
	addr := s.Do(t, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").([]any)
	if addr[1] != strconv.Itoa(m.Port) {
		t.Fatalf("Sentinel says the master is %v, want port %d", addr, m.Port)
	}
}

func TestCluster(t *testing.T) {
	c := testredis.StartCluster(t, 3, 1, "--requirepass", "secret")
	for i := range 100 {
		c.Do(t, "SET", "k"+strconv.Itoa(i), "v")
	}
	var total int64
	for _, m := range c.Masters() {
		n := m.Do(t, "DBSIZE").(int64)
		if n == 0 {
			t.Errorf("master %s holds no key", m.Addr)
		}
		total += n
	}
	if total != 100 {
		t.Fatalf("the masters hold %d keys, want 100", total)
	}
	if role := c.Replicas(0)[0].Do(t, "ROLE").([]any); !strings.HasPrefix(role[0].(string), "sl") {
		t.Fatalf("the first replica's role is %v", role)
	}
}
