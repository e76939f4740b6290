// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

const usualName = "csi-eed652b521e089e6b41ccb27ef382d0a4b372496c347475a537a016bbb63abb4"

// wantStale checks what Stale says of volume on worker.
func (c *cluster) wantStale(lost string, kind error, text string) {
	c.t.Helper()
	got, err := c.attachments.Stale(c.t.Context(), volume, worker)
	if got != lost || !errors.Is(err, kind) || (err != nil && (kind == nil || !strings.Contains(err.Error(), text))) {
		c.t.Errorf("Stale = %q, %v, want %q, %v with %q", got, err, lost, kind, text)
	}
}

func notReady(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionUnknown }

func listing1(n *corev1.Node) {
	inUse("kubernetes.io/csi/rds.csi.srvlab.io^pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11")(n)
}

func TestStale(t *testing.T) {
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		lost    string
		kind    error
		text    string
	}{
		{"left over", []runtime.Object{node(nil)}, "", nil, ""},
		{"node gone", nil, "node object is gone", nil, ""},
		{"node not ready, and does not list it", []runtime.Object{node(notReady)}, "node is not ready", nil, ""},
		{"node out of service", []runtime.Object{node(taint(corev1.TaintNodeOutOfService))}, "node has the taint node.kubernetes.io/out-of-service", nil, ""},
		{"others in use", []runtime.Object{node(inUse("kubernetes.io/csi/rds.csi.srvlab.io^" + corev1.UniqueVolumeName(volume2)))}, "", nil, ""},
		{"others wanted there", []runtime.Object{node(nil), disk(volume2), attach(volume2, worker)}, "", nil, ""},
		{"wanted elsewhere", []runtime.Object{node(nil), disk(volume), attach(volume, worker2)}, "", nil, ""},
		{"in use", []runtime.Object{node(listing1)}, "", actors.ErrPrecondition, "in use"},
		{
			"in use, on a node that is not ready",
			[]runtime.Object{node(func(n *corev1.Node) { notReady(n); listing1(n) })},
			"", actors.ErrPrecondition, "in use",
		},
		{"wanted", []runtime.Object{node(nil), disk(volume), attach(volume, worker)}, "", actors.ErrPrecondition, usualName},
		{"wanted, not yet attached", []runtime.Object{node(nil), disk(volume), attach(volume, worker, notYet)}, "", actors.ErrPrecondition, usualName},
		{"wanted, being deleted", []runtime.Object{node(nil), disk(volume), attach(volume, worker, leaving)}, "", actors.ErrPrecondition, usualName},
		{"wanted on a node that is gone", []runtime.Object{disk(volume), attach(volume, worker)}, "", actors.ErrPrecondition, usualName},
		{
			"wanted by the name, whatever it names since",
			[]runtime.Object{node(nil), disk(volume2), attach(volume, worker, of(string(volume2)))},
			"", actors.ErrPrecondition, usualName,
		},
		{
			"wanted by another name",
			[]runtime.Object{node(nil), disk(volume), attach(volume, worker, named("hand"))},
			"", actors.ErrPrecondition, "VolumeAttachment hand asks for",
		},
		{
			"wanted by another name, inline",
			[]runtime.Object{node(nil), attach(volume, worker, named("hand"), inline(driver, volume))},
			"", actors.ErrPrecondition, "VolumeAttachment hand asks for",
		},
		{
			"wanted by whatever its PersistentVolume turns out to be",
			[]runtime.Object{node(nil), attach(volume, worker, named("hand"), of("unseen"))},
			"", actors.ErrUnavailable, "PersistentVolume unseen of VolumeAttachment hand was not seen",
		},
		{
			"on another node by whatever its PersistentVolume turns out to be",
			[]runtime.Object{node(nil), attach(volume, worker2, named("hand"), of("unseen"))},
			"", nil, "",
		},
		{
			"another driver's",
			[]runtime.Object{node(nil), disk(volume), attach(volume, worker, named("hand"), by("other.example"))},
			"", nil, "",
		},
		{
			"one that is ignored",
			[]runtime.Object{node(nil), attach(volume, worker, named("hand"), inline(driver, "x"))},
			"", nil, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inCluster(t, func(c *cluster) { c.wantStale(test.lost, test.kind, test.text) }, test.objects...)
		})
	}
}

// Caches lie: what the API server says now decides.
func TestStaleAsksLive(t *testing.T) {
	missing := apierrors.NewNotFound(storagev1.Resource("volumeattachments"), "x")
	t.Run("made a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("volumeattachments", usualName, attach(volume, worker), nil)
			c.wantStale("", actors.ErrPrecondition, usualName)
		}, node(nil))
	})
	t.Run("in use since a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("nodes", string(worker), node(listing1), nil)
			c.wantStale("", actors.ErrPrecondition, "in use")
		}, node(nil))
	})
	t.Run("gone a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("volumeattachments", usualName, nil, missing)
			c.has("volumeattachments", "hand", nil, missing)
			c.has("volumeattachments", "unmapped", nil, missing)
			c.wantStale("", nil, "")
		}, node(nil), disk(volume), attach(volume, worker), attach(volume, worker, named("hand")), attach(volume, worker, named("unmapped"), of("unseen")))
	})
	t.Run("replaced a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("volumeattachments", "hand", attach(volume2, worker, named("hand")), nil)
			c.wantStale("", actors.ErrUnavailable, "replaced")
		}, node(nil), disk(volume), attach(volume, worker, named("hand")))
	})
}

// Whatever the API server fails with: nothing is stale, and that is said in the kind that is tried again.
func TestStaleFailsClosed(t *testing.T) {
	for name, failure := range troubles() {
		for _, kind := range []string{"nodes", "volumeattachments"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				inCluster(t, func(c *cluster) {
					c.fails("get", kind, failure)
					c.wantStale("", actors.ErrUnavailable, "read ")
				}, node(nil))
			})
		}
	}
	t.Run("by another name", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("volumeattachments", "hand", nil, errors.New("connection refused"))
			c.wantStale("", actors.ErrUnavailable, "read VolumeAttachment hand")
		}, node(nil), disk(volume), attach(volume, worker, named("hand")))
	})
}

// Without the bound this test hangs.
func TestStaleAndAdoptDoNotWaitForAHungServer(t *testing.T) {
	c := newCluster(t, node(nil))
	c.run(c.claims.Run)
	c.run(c.attachments.Run)
	if !cache.WaitForCacheSync(t.Context().Done(), c.attachments.Synced) {
		t.Fatal("caches were not filled")
	}
	// From now on nobody answers.
	c.attachments.config.Client = served(t, hung)
	c.attachments.config.Timeout = 20 * time.Millisecond
	c.wantStale("", actors.ErrUnavailable, "read node")
	c.wantNoAdoption(actors.ErrUnavailable, "read PersistentVolume")
}

// A VolumeAttachment whose finalizer somebody took off goes before the node was told: only what the node
// lists in use tells then.
func TestVolumeAttachmentDeletedByForce(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.wantWanted("11:1")
		c.detach(usualName)
		c.wantChanges(1)
		c.wantWanted("")
		c.wantStale("", actors.ErrPrecondition, "in use")
		if err := c.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), node(nil), ""); err != nil {
			t.Fatal(err)
		}
		c.wantStale("", nil, "")
		if err := c.client.CoreV1().Nodes().Delete(c.t.Context(), string(worker), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.wantStale("node object is gone", nil, "")
	}, node(listing1), disk(volume), attach(volume, worker))
}

// A backup of the cluster brings VolumeAttachments back that the ledger knows nothing of, without what their
// status said, and some without their PersistentVolumes. What they name is wanted again, so that a grant
// that they fit is never stale; the attach/detach controller deletes those that no pod needs.
func TestVolumeAttachmentsRestoredFromAnOldBackup(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.wantStale("", nil, "") // before
		restored := func(va *storagev1.VolumeAttachment) { notYet(va); va.UID += "-restored" }
		c.create(attach(volume, worker, restored), attach(volume2, worker2, restored))
		c.wantWanted("11:1 69:2") // volume2 has no PersistentVolume any more
		c.wantStale("", actors.ErrPrecondition, usualName)

		// One for a PersistentVolume that was made by hand, and is not in the backup, may be anyone's.
		c.create(attach(volume, worker, restored, named("hand"), of("by-hand")))
		c.wantFrozen("by-hand")
		c.detach(usualName)
		c.wantStale("", actors.ErrUnavailable, "by-hand")
		c.detach("hand")
		c.wantWanted("69:2")
		c.wantStale("", nil, "")
	}, node(nil), disk(volume))
}
