package kube_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/redis-sync/kubectl-redis-sync/internal/kube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testkube"
	"github.com/redis-sync/kubectl-redis-sync/internal/testredis"
)

func newClient(t *testing.T, s *testkube.Server) *kube.Client {
	t.Helper()
	c, err := kube.New(s.Loader("ctx-a", "redis"), kube.Options{Site: "redis-a", Context: "ctx-a", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func configMap(ns, name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}, Data: map[string]string{"k": "v"}}
}

func TestErrorsTellKindAndPlace(t *testing.T) {
	s := testkube.New(t)
	s.Deny("list", "pods")
	c := newClient(t, s)
	ctx := t.Context()

	_, err := c.Pods(ctx, "redis", "")
	var coded interface{ ExitCode() int }
	if !kube.IsForbidden(err) || !kube.IsAuth(err) || !errors.As(err, &coded) || coded.ExitCode() != 12 {
		t.Errorf("forbidden: got %v", err)
	}
	if !strings.Contains(err.Error(), `site redis-a (context "ctx-a"): list pods in namespace redis`) {
		t.Errorf("the error does not name the place: %v", err)
	}
	_, err = c.Secret(ctx, "redis", "missing")
	if !kube.IsNotFound(err) || kube.IsAuth(err) || !strings.Contains(err.Error(), "read secret redis/missing") {
		t.Errorf("not found: got %v", err)
	}
	if ok, err := c.NamespaceExists(ctx, "nope"); ok || err != nil {
		t.Errorf("namespace: got %v %v", ok, err)
	}
	s.AddNamespace(t, "going")
	for _, want := range []string{"", "namespace going is being deleted"} {
		if gone, err := c.NamespaceGone(ctx, "going"); gone != want || err != nil {
			t.Errorf("namespace: got %q %v", gone, err)
		}
		s.Edit(t, "/api/v1/namespaces/going", func(u *unstructured.Unstructured) { u.SetDeletionTimestamp(&metav1.Time{Time: time.Now()}) })
	}
	if gone, err := c.NamespaceGone(ctx, "nope"); gone != "namespace nope does not exist" || err != nil {
		t.Errorf("namespace: got %q %v", gone, err)
	}
}

func TestUnreachable(t *testing.T) {
	s := testkube.New(t)
	loader := s.Loader("ctx", "redis")
	cfg, err := loader.ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Host = "http://127.0.0.1:1"
	c, err := kube.New(fixedConfig{loader, cfg}, kube.Options{Site: "redis-b"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Pods(t.Context(), "redis", "")
	if !kube.IsUnreachable(err) || kube.IsAuth(err) || kube.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Ping(t.Context()); !kube.IsUnreachable(err) {
		t.Errorf("got %v", err)
	}
	if _, err := c.DialPod(t.Context(), "redis", "p", 6379); !kube.IsUnreachable(err) {
		t.Errorf("dial: got %v", err)
	}
}

func TestCanI(t *testing.T) {
	s := testkube.New(t)
	s.Deny("create", "pods/portforward")
	got, err := newClient(t, s).CanI(t.Context(), []kube.Access{
		{Verb: "list", Resource: "pods", Namespace: "redis"},
		{Verb: "create", Resource: "pods/portforward", Namespace: "redis"},
		{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "redis"},
	})
	if err != nil || len(got) != 3 || !got[0] || got[1] || !got[2] {
		t.Errorf("got %v, %v; want true false true", got, err)
	}
}

func TestApplyGetDelete(t *testing.T) {
	s := testkube.New(t)
	s.AddNamespace(t, "redis")
	c := newClient(t, s)
	ctx := t.Context()
	obj, err := kube.ToUnstructured(configMap("redis", "m", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, there := obj.Object["metadata"].(map[string]any)["creationTimestamp"]; there || obj.GetKind() != "ConfigMap" {
		t.Errorf("not fit to be applied: %v", obj.Object)
	}
	if _, err := c.Apply(ctx, obj, kube.ApplyOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, kube.RefOf(obj)); !kube.IsNotFound(err) {
		t.Errorf("a dry run stored the object: %v", err)
	}
	stored, err := c.Apply(ctx, obj, kube.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if last := s.Requests[len(s.Requests)-1]; !strings.Contains(last, "fieldManager=kubectl-redis-sync") || !strings.Contains(last, "force=false") {
		t.Errorf("request: %s", last)
	}

	wrong := kube.RefOf(stored)
	wrong.UID = "another"
	if err := c.Delete(ctx, wrong); !kube.IsConflict(err) {
		t.Errorf("delete of another object of the same name: got %v", err)
	}
	if err := c.Delete(ctx, kube.RefOf(stored)); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, kube.RefOf(stored)); err != nil {
		t.Errorf("delete of a gone object: got %v", err)
	}
	if _, err := c.Get(ctx, kube.Ref{GVK: schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Thing"}, Name: "x"}); err == nil ||
		!strings.Contains(err.Error(), "example.org") {
		t.Errorf("unknown kind: got %v", err)
	}
}

func TestConfigMapCompare(t *testing.T) {
	s := testkube.New(t)
	s.AddNamespace(t, "redis")
	c := newClient(t, s)
	ctx := t.Context()
	first, err := c.CreateConfigMap(ctx, configMap("redis", "record", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateConfigMap(ctx, configMap("redis", "record", nil)); !kube.IsAlreadyExists(err) {
		t.Errorf("create twice: got %v", err)
	}
	if _, err := c.UpdateConfigMap(ctx, first.DeepCopy()); err != nil {
		t.Error(err)
	}
	if _, err := c.UpdateConfigMap(ctx, first); !kube.IsConflict(err) {
		t.Errorf("update of what changed meanwhile: got %v", err)
	}
	first.ResourceVersion = ""
	if _, err := c.UpdateConfigMap(ctx, first); err == nil || kube.IsConflict(err) {
		t.Errorf("update without a version: got %v", err)
	}
}

func TestListOwned(t *testing.T) {
	s := testkube.New(t)
	ours := func(pair string) map[string]string {
		return map[string]string{kube.LabelManagedBy: kube.ManagedBy, kube.LabelPair: pair}
	}
	s.Add(t,
		configMap("redis", "b", ours("p1")), configMap("redis", "a", ours("p1")), configMap("redis", "c", ours("p2")),
		configMap("redis", "d", map[string]string{kube.LabelPair: "p1"}), configMap("elsewhere", "e", ours("p1")),
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "redis", Name: "s", Labels: ours("p1")}},
	)
	c := newClient(t, s)
	for _, test := range []struct{ ns, pair, want string }{
		{"redis", "p1", "Service/s ConfigMap/a ConfigMap/b"},
		{"redis", "", "Service/s ConfigMap/a ConfigMap/b ConfigMap/c"},
		{"", "p1", "Service/s ConfigMap/e ConfigMap/a ConfigMap/b"},
	} {
		list, err := c.ListOwned(t.Context(), test.ns, test.pair)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range list {
			got = append(got, u.GetKind()+"/"+u.GetName())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q %q: got %v, want %s", test.ns, test.pair, got, test.want)
		}
	}
}

func TestClusterID(t *testing.T) {
	s := testkube.New(t)
	ca := configMap("redis", "kube-root-ca.crt", nil)
	ca.Data = map[string]string{"ca.crt": "CERTIFICATE"}
	s.Add(t, ca)
	full, err := newClient(t, s).ClusterID(t.Context(), "redis")
	if err != nil || full.UID == "" || full.CAHash == "" {
		t.Fatalf("got %+v, %v", full, err)
	}
	s.Deny("get", "namespaces")
	byCA, err := newClient(t, s).ClusterID(t.Context(), "redis")
	if err != nil || byCA.UID != "" || !byCA.Same(full) || !full.Same(byCA) {
		t.Errorf("by CA: got %+v, %v", byCA, err)
	}
	s.Deny("get", "configmaps")
	if _, err := newClient(t, s).ClusterID(t.Context(), "redis"); !kube.IsAuth(err) || !strings.Contains(err.Error(), "configmap redis/kube-root-ca.crt") {
		t.Errorf("nothing may be read: got %v", err)
	}
	// The same CA in two clusters (copied, or a corporate one): the uid tells.
	if id := (kube.ClusterID{UID: "other", CAHash: full.CAHash}); id.Same(full) {
		t.Error("two uids are not one cluster")
	}
	if (kube.ClusterID{}).Same(kube.ClusterID{}) {
		t.Error("nothing known is not the same")
	}
}

func TestDialPod(t *testing.T) {
	redis := testredis.Start(t)
	s := testkube.New(t)
	s.Add(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "redis", Name: "p-0"}})
	s.Forward["redis/p-0:6379"] = redis.Addr
	c := newClient(t, s)
	ctx := t.Context()

	ping := func() error {
		conn, err := c.DialPod(ctx, "redis", "p-0", 6379)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		buf := make([]byte, 7)
		if _, err := conn.Read(buf); err != nil {
			return err
		}
		if string(buf) != "+PONG\r\n" {
			return errors.New("answered " + string(buf))
		}
		return nil
	}
	results := make(chan error, 8)
	for range cap(results) {
		go func() { results <- ping() }()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	upgrades := 0
	for _, r := range s.Requests {
		if strings.HasPrefix(r, "POST ") && strings.Contains(r, "/portforward") {
			upgrades++
		}
	}
	if upgrades != 1 {
		t.Errorf("%d upgraded connections for one pod, want 1", upgrades)
	}

	// A deadline ends a read that would wait for ever.
	conn, err := c.DialPod(ctx, "redis", "p-0", 6379)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("read past the deadline: got %v", err)
	}

	// A refusing port says so, and does not harm later connections.
	refusing, err := c.DialPod(ctx, "redis", "p-0", 7777)
	if err != nil {
		t.Fatal(err)
	}
	_, err = refusing.Read(make([]byte, 1))
	var refused *kube.ForwardError
	if !errors.As(err, &refused) || !refused.Refused() || !strings.Contains(err.Error(), "redis/p-0:7777") {
		t.Errorf("refused port: got %v", err)
	}
	// Also to who sets a deadline before anything else.
	for name, set := range map[string]func(time.Time) error{
		"SetDeadline": refusing.SetDeadline, "SetReadDeadline": refusing.SetReadDeadline, "SetWriteDeadline": refusing.SetWriteDeadline,
	} {
		refused = nil
		if err := set(time.Now().Add(time.Minute)); !errors.As(err, &refused) || !refused.Refused() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ping(); err != nil {
		t.Errorf("after a refusal: %v", err)
	}

	if _, err := c.DialPod(ctx, "redis", "p-9", 6379); !kube.IsNotFound(err) {
		t.Errorf("missing pod: got %v", err)
	}
	s.Deny("create", "pods/portforward")
	if _, err := newClient(t, s).DialPod(ctx, "redis", "p-0", 6379); !kube.IsForbidden(err) {
		t.Errorf("forbidden: got %v", err)
	}
	c.Close()
	if err := ping(); err == nil {
		t.Error("a closed client still dials")
	}
}

func TestDialPodGivesUp(t *testing.T) {
	s := testkube.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, s).DialPod(ctx, "redis", "p-0", 6379); !errors.Is(err, context.Canceled) && !kube.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestExec(t *testing.T) {
	s := testkube.New(t)
	s.Exec = func(_, pod string, command []string) (string, string, int) {
		if command[0] == "false" {
			return "", "went wrong", 3
		}
		return pod + ": " + strings.Join(command, " "), "", 0
	}
	c := newClient(t, s)
	out, _, err := c.Exec(t.Context(), "redis", "p-0", "redis", []string{"redis-cli", "ping"})
	if err != nil || out != "p-0: redis-cli ping" {
		t.Errorf("got %q, %v", out, err)
	}
	_, stderr, err := c.Exec(t.Context(), "redis", "p-0", "redis", []string{"false"})
	if err == nil || stderr != "went wrong" || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("got %q, %v", stderr, err)
	}
}

func TestPodProxyGet(t *testing.T) {
	s := testkube.New(t)
	s.Proxy["redis/p-0:9310/status"] = `{"phase":"Streaming"}`
	c := newClient(t, s)
	body, err := c.PodProxyGet(t.Context(), "redis", "p-0", 9310, "/status")
	if err != nil || string(body) != `{"phase":"Streaming"}` {
		t.Errorf("got %q, %v", body, err)
	}
	if _, err := c.PodProxyGet(t.Context(), "redis", "p-0", 1, "/status"); !kube.IsUnreachable(err) {
		t.Errorf("no answer: got %v", err)
	}
}

func TestEvents(t *testing.T) {
	s := testkube.New(t)
	s.AddNamespace(t, "redis")
	c := newClient(t, s)
	ref := kube.Ref{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespace: "redis", Name: "record", UID: "u"}
	if err := c.CreateEvent(t.Context(), kube.Event{Regarding: ref, Reason: "Applied", Message: "done", At: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	events, err := c.Events(t.Context(), "redis", "ConfigMap", "record")
	if err != nil || len(events) != 1 || events[0].Reason != "Applied" || events[0].InvolvedObject.UID != "u" {
		t.Errorf("got %+v, %v", events, err)
	}
}
