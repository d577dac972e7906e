package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/redis-sync/kubectl-redis-sync/test/sites"
)

// Services of an application in both clusters: what it connects to.
const (
	shop      = "e2e-shop"
	byAddress = "orders-redis"
	byName    = "orders-redis-name"
)

// applicationServices makes them, and a copy of the shipped hook that moves
// them.
func (s *scene) applicationServices(t *testing.T) (hooks string) {
	t.Helper()
	hooks = t.TempDir()
	if err := os.CopyFS(hooks, os.DirFS(filepath.Join(s.world.Root, "docs", "hooks", "service"))); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, p := range []sites.Placement{s.pair.Source, s.pair.Target} {
		core := s.cluster(t, p).Typed.CoreV1()
		_, err := core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		for name, spec := range map[string]corev1.ServiceSpec{
			byAddress: {Ports: []corev1.ServicePort{{Name: "redis", Port: 6379}}},
			byName:    {Type: corev1.ServiceTypeExternalName, ExternalName: "nowhere.example.com"},
		} {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
			if _, err := core.Services(shop).Create(t.Context(), service, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
		}
		for _, primary := range []sites.Placement{s.pair.Source, s.pair.Target} {
			fmt.Fprintf(&list, "%s %s %s %s %s:6379\n", p.Site, shop, byAddress, primary.Instance, s.masterIP(t, primary))
			fmt.Fprintf(&list, "%s %s %s %s %s.example.com\n", p.Site, shop, byName, primary.Instance, primary.Instance)
		}
	}
	services := filepath.Join(hooks, "services")
	if err := os.WriteFile(services, []byte(list.String()+s.pair.Source.Site+" "+shop+" no-such "+s.pair.Target.Instance+" x.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECTL", s.world.Kubectl)
	refused := s.plugin(t, 3, s.pair.Later("failover", "--yes", "--max-lag", "1m", "--verify", "none", "--hook", hooks)...)
	contains(t, refused.Stderr, "not moved to x.example.com: service "+shop+"/no-such", "nothing was done")
	if !takesWrites(t, s.source) {
		t.Error("a hook that fails before the closing closed the primary")
	}
	if err := os.WriteFile(services, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return hooks
}

// masterIP is the address of a master's pod of a site.
func (s *scene) masterIP(t *testing.T, p sites.Placement) string {
	t.Helper()
	masters, err := s.instance(p.Site).Masters(t.Context())
	if err != nil || len(masters) == 0 {
		t.Fatalf("site %s: no master: %v", p.Site, err)
	}
	pod, err := s.cluster(t, p).Typed.CoreV1().Pods(p.Namespace).Get(t.Context(), masters[0].Pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod.Status.PodIP
}

// movedTo fails unless the Services of both clusters lead to a site. In the
// site's own cluster the way is gone by a pod.
func (s *scene) movedTo(t *testing.T, to sites.Placement) {
	t.Helper()
	for _, p := range []sites.Placement{s.pair.Source, s.pair.Target} {
		client := s.cluster(t, p).Typed
		service, err := client.CoreV1().Services(shop).Get(t.Context(), byName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if want := to.Instance + ".example.com"; service.Spec.ExternalName != want {
			t.Errorf("site %s: service %s leads to %s, expected %s", p.Site, byName, service.Spec.ExternalName, want)
		}
		slices, err := client.DiscoveryV1().EndpointSlices(shop).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + byAddress})
		if err != nil {
			t.Fatal(err)
		}
		if want := s.masterIP(t, to); len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 || slices.Items[0].Endpoints[0].Addresses[0] != want {
			t.Errorf("site %s: service %s leads to %+v, expected %s", p.Site, byAddress, slices.Items, want)
		}
	}
	service, err := s.cluster(t, to).Typed.CoreV1().Services(shop).Get(t.Context(), byAddress, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	masters, err := s.instance(to.Site).Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.eventually(t, time.Minute, "the Service leads to Redis", func() bool {
		// Without a password Redis answers with an error of its own.
		r, err := s.world.KubectlRun(t.Context(), to.Site, "-n", to.Namespace, "exec", masters[0].Pod, "--",
			"redis-cli", "-h", service.Spec.ClusterIP, "-p", "6379", "PING")
		return err == nil && (strings.Contains(r.Stdout, "PONG") || strings.Contains(r.Stdout, "NOAUTH"))
	})
}

var epochs = regexp.MustCompile(`epoch \d+`)

// inBook fails unless the runbook has every step of a dry run. Epochs may
// differ: a fence that a pair of that name left behind is passed by.
func (s *scene) inBook(t *testing.T, book, verb string) {
	t.Helper()
	dry := s.plugin(t, 0, s.pair.Later(verb, "--dry-run")...)
	book = epochs.ReplaceAllString(book, "epoch")
	for line := range strings.Lines(epochs.ReplaceAllString(dry.Stdout, "epoch")) {
		if !strings.Contains(book, "#  "+line) {
			t.Errorf("the runbook lacks %q of %s --dry-run", line, verb)
		}
	}
}
