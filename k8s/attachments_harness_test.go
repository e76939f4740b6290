// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

const (
	volume2 = actors.VolumeID("pvc-5f1d2c3b-0a9e-4d6c-8b7f-1e2d3c4b5a69")
	worker2 = actors.NodeID("worker-2")
	worker3 = actors.NodeID("worker-3")
)

// A cluster is an API server in a bubble of time, what it was asked, and the driver's view of it.
type cluster struct {
	t           *testing.T
	client      *fake.Clientset
	claims      *Claims
	attachments *Attachments
	log         *strings.Builder // read when all goroutines wait

	mu      sync.Mutex
	changed int // calls of Changed since the last look
	lists   int // LISTs of VolumeAttachments since the last look
}

// inCluster plays a test in a cluster with the given objects, of which the caches know all.
func inCluster(t *testing.T, play func(*cluster), objects ...runtime.Object) {
	t.Helper()
	inBubble(t, func(c *cluster) {
		c.run(c.claims.Run)
		c.run(c.attachments.Run)
		c.settle()
		c.wantFilled()
		c.lists = 0
		play(c)
	}, objects...)
}

// inBubble plays a test in a cluster whose caches nobody keeps yet.
func inBubble(t *testing.T, play func(*cluster), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { play(newCluster(t, objects...)) })
}

// newCluster returns a cluster whose caches are not kept yet.
func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	c := &cluster{t: t, client: fake.NewClientset(objects...), log: new(strings.Builder)}
	c.client.PrependReactor("list", "volumeattachments", func(clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lists++
		return false, nil, nil
	})
	c.claims = newClaims(t, c.client)
	var err error
	c.attachments, err = NewAttachments(AttachmentsConfig{
		Client: c.client, Claims: c.claims, Driver: driver, TimeoutKey: "migrationTimeoutSeconds", FencingKey: "fencing",
		Logger: slog.New(slog.NewTextHandler(c.log, nil)),
		Changed: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a task until the test ends.
func (c *cluster) run(task func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- task(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
}

// settle lets the caches see whatever there is.
func (c *cluster) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// wantFilled checks that Changed told that the caches are filled, and maybe more.
func (c *cluster) wantFilled() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == 0 {
		c.t.Error("Changed was not called when the caches were filled")
	}
	c.changed = 0
}

func (c *cluster) wantChanges(want int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed != want {
		c.t.Errorf("Changed was called %d times, want %d", c.changed, want)
	}
	c.changed = 0
}

// wantLog checks how often something was told, and that nothing else was.
func (c *cluster) wantLog(times int, parts ...string) {
	c.t.Helper()
	text := c.log.String()
	c.log.Reset()
	if got := strings.Count(text, "\n"); got != times {
		c.t.Errorf("told %d times, want %d:\n%s", got, times, text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			c.t.Errorf("did not tell %q, but:\n%s", part, text)
		}
	}
}

func (c *cluster) create(objects ...runtime.Object) {
	c.t.Helper()
	for _, object := range objects {
		if err := c.client.Tracker().Add(object); err != nil {
			c.t.Fatal(err)
		}
	}
	c.settle()
}

func (c *cluster) detach(name string) {
	c.t.Helper()
	if err := c.client.StorageV1().VolumeAttachments().Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.settle()
}

// fails has requests of a kind answered with an error from now on.
func (c *cluster) fails(verb, resource string, err error) {
	c.client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

// has has objects of a kind read as one that the caches have not seen; nil as one that is gone.
func (c *cluster) has(resource, name string, object runtime.Object, gone error) {
	c.client.PrependReactor("get", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
		get, ok := action.(clienttesting.GetAction)
		if !ok || get.GetName() != name {
			return false, nil, nil
		}
		return true, object, gone
	})
}

var birth = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// attach returns the VolumeAttachment that the attach/detach controller makes, after it was changed. The
// PersistentVolume is named like the volume.
func attach(id actors.VolumeID, node actors.NodeID, changes ...func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
	name := string(id)
	va := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{
			Name: attachmentName(id, driver, node), UID: types.UID("uid-of-" + name + "-" + string(node)),
			CreationTimestamp: metav1.NewTime(birth), Finalizers: []string{"external-attacher/" + driver},
			Annotations: map[string]string{"csi.alpha.kubernetes.io/node-id": string(node)},
		},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: driver, NodeName: string(node), Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &name},
		},
		Status: storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"nvme_nqn": "nqn.x"}},
	}
	for _, change := range changes {
		change(va)
	}
	return va
}

func named(name string) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) { va.Name = name }
}

func of(persistentVolume string) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) { va.Spec.Source.PersistentVolumeName = &persistentVolume }
}

func to(node actors.NodeID) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) { va.Spec.NodeName = string(node) }
}

func at(seconds int) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) {
		va.CreationTimestamp = metav1.NewTime(birth.Add(time.Duration(seconds) * time.Second))
	}
}

func by(attacher string) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) { va.Spec.Attacher = attacher }
}

func notYet(va *storagev1.VolumeAttachment) { va.Status = storagev1.VolumeAttachmentStatus{} }

func leaving(va *storagev1.VolumeAttachment) {
	now := metav1.NewTime(birth.Add(time.Hour))
	va.DeletionTimestamp = &now
}

// inline returns the change to a volume that stands in the VolumeAttachment itself.
func inline(csiDriver string, handle actors.VolumeID) func(*storagev1.VolumeAttachment) {
	return func(va *storagev1.VolumeAttachment) {
		va.Spec.Source = storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: csiDriver, VolumeHandle: string(handle), FSType: "ext4"},
			},
		}}
	}
}

// disk returns a volume's PersistentVolume as external-provisioner makes it, after it was changed.
func disk(id actors.VolumeID, changes ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	p := pv(string(id), id, "disk")
	p.UID = types.UID("uid-of-" + string(id))
	for _, change := range changes {
		change(p)
	}
	return p
}
