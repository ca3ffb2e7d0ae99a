// Command volumes provisions PersistentVolumes out of a folder of this machine, as a cloud's CSI driver does it:
// late binding, fsGroup honoured, data removed with the claim.
//
// The controller manager's own host-path provisioner does none of these: its volumes are owned by root with mode 0755,
// and the kubelet never applies fsGroup to hostPath, so a pod that is not root cannot write to them.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

// The annotations by which the volume controller and the scheduler hand a claim to its provisioner.
const (
	provisionerAnnotation = "volume.kubernetes.io/storage-provisioner"
	selectedNode          = "volume.kubernetes.io/selected-node"
	provisionedBy         = "pv.kubernetes.io/provisioned-by"
)

type provisioner struct {
	name   string
	folder string
	client kubernetes.Interface
	claims cache.Store
	vols   cache.Store
	queue  workqueue.TypedRateLimitingInterface[string]
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the cluster's address and credentials")
	folder := flag.String("folder", "", "where the volumes live; every node must see it")
	name := flag.String("provisioner", "", "the StorageClass's provisioner")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	factory := informers.NewSharedInformerFactory(client, 30*time.Second)
	p := &provisioner{
		name:   *name,
		folder: *folder,
		client: client,
		claims: factory.Core().V1().PersistentVolumeClaims().Informer().GetStore(),
		vols:   factory.Core().V1().PersistentVolumes().Informer().GetStore(),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	// Claims are namespaced and volumes are not: one queue tells them apart by the slash in the key.
	enqueue := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			p.queue.Add(key)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) }}
	_, _ = factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(handler)
	_, _ = factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(handler)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	go func() { <-ctx.Done(); p.queue.ShutDown() }()
	for p.next(ctx) {
	}
}

func (p *provisioner) next(ctx context.Context) bool {
	key, stopped := p.queue.Get()
	if stopped {
		return false
	}
	defer p.queue.Done(key)
	if err := p.reconcile(ctx, key); err != nil {
		log.Printf("%s: %v", key, err)
		p.queue.AddRateLimited(key)
		return true
	}
	p.queue.Forget(key)
	return true
}

func (p *provisioner) reconcile(ctx context.Context, key string) error {
	if object, exists, _ := p.claims.GetByKey(key); exists {
		return p.provision(ctx, object.(*corev1.PersistentVolumeClaim))
	}
	if object, exists, _ := p.vols.GetByKey(key); exists {
		return p.reclaim(ctx, object.(*corev1.PersistentVolume))
	}
	return nil
}

// provision makes the volume of a claim once the scheduler has chosen a node for the claim's first pod.
func (p *provisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil ||
		claim.Annotations[provisionerAnnotation] != p.name || claim.Annotations[selectedNode] == "" {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.folder, name)
	// As a fresh ext4 of a cloud's disk: root's, closed to others. The kubelet gives it to the pod's fsGroup.
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: p.name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			// "local" and not "hostPath": the kubelet applies fsGroup to it. It demands an affinity; every node of this
			// cluster is the same machine, so that a volume can follow its pods to any node as a zonal disk does.
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelOSStable, Operator: corev1.NodeSelectorOpIn, Values: []string{"linux"},
				}}}},
			}},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// reclaim removes a volume whose claim is gone.
func (p *provisioner) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != p.name || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || volume.DeletionTimestamp != nil {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(p.folder, volume.Name)); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
