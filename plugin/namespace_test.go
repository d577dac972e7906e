package plugin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis-sync/kubectl-redis-sync/internal/fault"
)

// TestFailoverWithANamespaceUnread: whether the primary's namespace is there is
// only asked to be sure. An API server that answers with an error is not silent,
// so nobody goes on without it; one that forbids the question is not asked.
func TestFailoverWithANamespaceUnread(t *testing.T) {
	s := newScene(t)
	s.control(t)
	run(t, "apply", "dr1", "-f", s.pairFile, "--yes").want(t, 0)
	s.copied(t)
	to, err := url.Parse(host(t, s.a))
	if err != nil {
		t.Fatal(err)
	}
	var code atomic.Int32
	code.Store(http.StatusInternalServerError)
	proxy := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/redis" {
			proxy.ServeHTTP(w, r)
			return
		}
		text, reason := "etcdserver: leader changed", "InternalError"
		if code.Load() == http.StatusForbidden {
			text, reason = "namespaces is forbidden", "Forbidden"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(code.Load()))
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"`+text+`","reason":"`+reason+`","code":`+strconv.Itoa(int(code.Load()))+`}`)
	}))
	t.Cleanup(front.Close)
	via := []string{"--context", "site-b", "--site-kubeconfig", "redis-a=" + kubeconfig(t, map[string]string{"a": front.URL}), "--site-context", "redis-a=a"}
	failover := append([]string{"failover", "dr1", "--verify=none", "--no-reverse", "--yes", "--accept-data-loss"}, via...)

	run(t, append([]string{"status", "dr1"}, via...)...).want(t, fault.CodeError, "read namespace redis", "leader changed")
	run(t, failover...).want(t, fault.CodeError, "read namespace redis", "leader changed")
	s.asBefore(t)
	if fence := s.fenced(t); fence != "1" {
		t.Errorf("the fence is at %s", fence)
	}
	code.Store(http.StatusForbidden)
	run(t, failover...).want(t, 0, "close site redis-a", "primary redis-b")
}
