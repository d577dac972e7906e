// Package provisioner makes a volume for each claim of the default storage
// class: a folder on the disk of the site's machine, as a local volume, so that
// the fsGroup of a pod applies to it as to any real disk.
package provisioner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// Name is what storage classes call this provisioner.
const Name = "redis-sync-test/local"

// dir holds one folder per volume, on the machine's disk.
const dir = "/var/lib/volumes"

// annProvisionedBy marks the volumes that are this provisioner's to delete.
const annProvisionedBy = "pv.kubernetes.io/provisioned-by"

// annProvisioner is how the volume binder asks for a volume.
const annProvisioner = "volume.kubernetes.io/storage-provisioner"

// request names one object that needs a look: a claim, or a volume.
type request struct {
	claim, volume string // "namespace/name" and "name"
}

// Provisioner serves one node.
type Provisioner struct {
	node    string
	dir     string
	client  kubernetes.Interface
	queue   workqueue.TypedRateLimitingInterface[request]
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

// Run serves claims until the context ends.
func Run(ctx context.Context, kubeconfig, node string) error {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	p, start, err := newProvisioner(client, node, dir)
	if err != nil {
		return err
	}
	if err := start(ctx); err != nil {
		return err
	}
	klog.InfoS("Serving claims", "node", node, "dir", p.dir)
	wait.UntilWithContext(ctx, p.work, time.Second)
	return ctx.Err()
}

// newProvisioner returns a provisioner and a function that fills its caches and
// feeds its queue.
func newProvisioner(client kubernetes.Interface, node, dir string) (*Provisioner, func(context.Context) error, error) {
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	claims := factory.Core().V1().PersistentVolumeClaims()
	volumes := factory.Core().V1().PersistentVolumes()
	p := &Provisioner{
		node: node, dir: dir, client: client,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[request]()),
		claims:  claims.Lister(),
		volumes: volumes.Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
	}
	add := func(of func(key string) request) cache.ResourceEventHandler {
		enqueue := func(obj any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				p.queue.Add(of(key))
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) }}
	}
	if _, err := claims.Informer().AddEventHandler(add(func(k string) request { return request{claim: k} })); err != nil {
		return nil, nil, err
	}
	if _, err := volumes.Informer().AddEventHandler(add(func(k string) request { return request{volume: k} })); err != nil {
		return nil, nil, err
	}
	start := func(ctx context.Context) error {
		go func() {
			<-ctx.Done()
			p.queue.ShutDown()
		}()
		factory.Start(ctx.Done())
		for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
			if !ok {
				return fmt.Errorf("cannot list %v", kind)
			}
		}
		return nil
	}
	return p, start, nil
}

func (p *Provisioner) work(ctx context.Context) {
	for {
		r, shutdown := p.queue.Get()
		if shutdown {
			return
		}
		err := p.sync(ctx, r)
		if err != nil {
			// The queue is where a failed request belongs: it comes again, later.
			klog.ErrorS(err, "Will try again", "claim", r.claim, "volume", r.volume)
			p.queue.AddRateLimited(r)
		} else {
			p.queue.Forget(r)
		}
		p.queue.Done(r)
	}
}

func (p *Provisioner) sync(ctx context.Context, r request) error {
	if r.volume != "" {
		return p.reclaim(ctx, r.volume)
	}
	return p.provision(ctx, r.claim)
}

// provision makes the volume that the binder asks for on behalf of a claim.
func (p *Provisioner) provision(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	claim, err := p.claims.PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if claim.Annotations[annProvisioner] != Name || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return fmt.Errorf("class of claim %s: %w", key, err)
	}
	// The name derives from the claim, so that a second attempt finds the first.
	volume := "pvc-" + string(claim.UID)
	path := filepath.Join(p.dir, volume)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Pods run as any user, with or without an fsGroup; the umask is not asked.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volume, Annotations: map[string]string{annProvisionedBy: Name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			StorageClassName:              class.Name,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: onNode(p.node)},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// reclaim deletes a volume, and its data, that no claim holds any more.
func (p *Provisioner) reclaim(ctx context.Context, name string) error {
	pv, err := p.volumes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if pv.Annotations[annProvisionedBy] != Name || pv.DeletionTimestamp != nil ||
		pv.Status.Phase != corev1.VolumeReleased ||
		pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(p.dir, pv.Name)); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &pv.UID},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func onNode(node string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}
}
