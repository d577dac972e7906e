package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

const (
	uid    = types.UID("0e46")
	volume = "pvc-0e46"
)

func claim() *corev1.PersistentVolumeClaim {
	class := Class
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "data", Namespace: "redis", UID: uid,
			Annotations: map[string]string{annProvisioner: Name},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

// started returns a provisioner whose caches hold the storage class and the
// given objects.
func started(t *testing.T, client *fake.Clientset) *Provisioner {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if err := Install(ctx, client, "somebody"); err != nil {
		t.Fatal(err)
	}
	p, start, err := newProvisioner(client, "site-a", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := start(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProvision(t *testing.T) {
	ctx := context.Background()
	client := fake.NewClientset(claim())
	p := started(t, client)
	for range 2 { // the second time finds what the first made
		if err := p.sync(ctx, request{claim: "redis/data"}); err != nil {
			t.Fatal(err)
		}
	}
	pv, err := client.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.dir, volume)
	if pv.Spec.Local == nil || pv.Spec.Local.Path != path {
		t.Errorf("source %+v, want the folder %s", pv.Spec.PersistentVolumeSource, path)
	}
	if ref := pv.Spec.ClaimRef; ref == nil || ref.UID != uid || ref.Name != "data" || ref.Namespace != "redis" {
		t.Errorf("claim %+v", ref)
	}
	if size := pv.Spec.Capacity[corev1.ResourceStorage]; size.String() != "1Gi" {
		t.Errorf("size %s", size.String())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("folder: %v, %v; any user must be able to write", info, err)
	}
}

func TestOthersClaimsAreLeftAlone(t *testing.T) {
	bound, foreign := claim(), claim()
	bound.Name, bound.Spec.VolumeName = "bound", "x"
	foreign.Name, foreign.Annotations = "foreign", map[string]string{annProvisioner: "somebody/else"}
	client := fake.NewClientset(bound, foreign)
	p := started(t, client)
	for _, key := range []string{"redis/bound", "redis/foreign", "redis/deleted"} {
		if err := p.sync(context.Background(), request{claim: key}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	list, err := client.CoreV1().PersistentVolumes().List(context.Background(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("volumes %v, %v", list.Items, err)
	}
}

func TestReclaim(t *testing.T) {
	pv := func(name string, phase corev1.PersistentVolumePhase, by string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annProvisionedBy: by}},
			Spec:       corev1.PersistentVolumeSpec{PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete},
			Status:     corev1.PersistentVolumeStatus{Phase: phase},
		}
	}
	client := fake.NewClientset(
		pv("released", corev1.VolumeReleased, Name),
		pv("bound", corev1.VolumeBound, Name),
		pv("foreign", corev1.VolumeReleased, "somebody/else"),
	)
	p := started(t, client)
	for name, stays := range map[string]bool{"released": false, "bound": true, "foreign": true} {
		folder := filepath.Join(p.dir, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := p.sync(context.Background(), request{volume: name}); err != nil {
			t.Fatal(err)
		}
		_, err := client.CoreV1().PersistentVolumes().Get(context.Background(), name, metav1.GetOptions{})
		if (err == nil) != stays {
			t.Errorf("volume %s: stays is %v, want %v", name, err == nil, stays)
		}
		if _, err := os.Stat(folder); (err == nil) != stays {
			t.Errorf("data of %s: stays is %v, want %v", name, err == nil, stays)
		}
	}
}
