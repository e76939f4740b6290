// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/rds-csi/rds-csi/actors"
)

// wantWanted checks what Wanted says, as "volume:node,node ..." with the last two digits of each volume.
func (c *cluster) wantWanted(want string) {
	c.t.Helper()
	wanted, err := c.attachments.Wanted()
	if err != nil {
		c.t.Errorf("Wanted = %v, want %q", err, want)
		return
	}
	var got []string
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		nodes := make([]string, 0, len(wanted[id]))
		for _, n := range wanted[id] {
			nodes = append(nodes, strings.TrimPrefix(string(n), "worker-"))
		}
		slices.Sort(nodes)
		got = append(got, fmt.Sprintf("%s:%s", id[len(id)-2:], strings.Join(nodes, ",")))
	}
	if got := strings.Join(got, " "); got != want {
		c.t.Errorf("Wanted = %q, want %q", got, want)
	}
}

func (c *cluster) wantFrozen(text string) {
	c.t.Helper()
	wanted, err := c.attachments.Wanted()
	if wanted != nil || !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), text) {
		c.t.Errorf("Wanted = %v, %v, want ErrUnavailable with %q", wanted, err, text)
	}
}

// Whatever VolumeAttachments there can be, what they ask for, and what is told of them.
func TestWanted(t *testing.T) {
	other := disk(volume, func(p *corev1.PersistentVolume) { p.Spec.CSI.Driver = "other.example" })
	misnamed := disk("restored", func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = "vol-1" })
	hand := disk("by-hand", func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) })
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		want    string
		told    string // once; empty: nothing is
	}{
		{"none", nil, "", ""},
		{"attached", []runtime.Object{disk(volume), attach(volume, worker)}, "11:1", ""},
		{"not yet attached", []runtime.Object{disk(volume), attach(volume, worker, notYet)}, "11:1", ""},
		{"being deleted", []runtime.Object{disk(volume), attach(volume, worker, leaving)}, "11:1", ""},
		{
			"a migration, and another volume",
			[]runtime.Object{disk(volume), disk(volume2), attach(volume, worker), attach(volume, worker2, notYet), attach(volume2, worker)},
			"11:1,2 69:1", "",
		},
		{"of another driver", []runtime.Object{disk(volume), attach(volume, worker, by("other.example"))}, "", ""},
		{"a volume by another name", []runtime.Object{hand, attach(volume, worker, of("by-hand"))}, "11:1", ""},
		{"a VolumeAttachment by another name", []runtime.Object{disk(volume), attach(volume, worker, named("hand"))}, "11:1", ""},
		{"two for one node", []runtime.Object{disk(volume), attach(volume, worker), attach(volume, worker, named("hand"))}, "11:1", ""},
		{"inline", []runtime.Object{attach(volume, worker, inline(driver, volume))}, "11:1", ""},
		{"the volume gone, the name proves which", []runtime.Object{attach(volume, worker)}, "11:1", ""},
		{"the volume made anew for another driver, the name proves which", []runtime.Object{other, attach(volume, worker)}, "11:1", ""},
		{
			"inline of another driver",
			[]runtime.Object{disk(volume2), attach(volume, worker, inline("other.example", volume)), attach(volume2, worker2)},
			"69:2", "names no volume of this driver",
		},
		{
			"a volume of another driver",
			[]runtime.Object{other, disk(volume2), attach(volume, worker, named("hand")), attach(volume2, worker2)},
			"69:2", "is not one of driver rds.csi.srvlab.io",
		},
		{
			"a handle that is no volume ID",
			[]runtime.Object{misnamed, disk(volume2), attach("restored", worker), attach(volume2, worker2)},
			"69:2", "is not of the form pvc-<uuid>",
		},
		{
			"an inline handle that is no volume ID",
			[]runtime.Object{disk(volume2), attach(volume, worker, inline(driver, "x")), attach(volume2, worker2)},
			"69:2", "is not of the form pvc-<uuid>",
		},
		{
			"a node without a name",
			[]runtime.Object{disk(volume), disk(volume2), attach(volume, ""), attach(volume2, worker2)},
			"69:2", "is not a lower-case node name",
		},
		{
			"a node whose name is none",
			[]runtime.Object{disk(volume), attach(volume, "Worker/1"), attach(volume, worker2)},
			"11:2", "is not a lower-case node name",
		},
		{
			"no source",
			[]runtime.Object{disk(volume2), attach(volume, worker, func(va *storagev1.VolumeAttachment) {
				va.Spec.Source = storagev1.VolumeAttachmentSource{}
			}), attach(volume2, worker2)},
			"69:2", "names no volume of this driver",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				c.wantWanted(test.want)
				if test.told == "" {
					c.wantLog(0)
				} else {
					c.wantLog(1, test.told)
				}
				c.wantWanted(test.want)
				c.wantLog(0)
			}, test.objects...)
		})
	}
}

// An attachment that cannot be mapped may be anyone's: nobody is to conclude what is not wanted.
func TestWantedFreezes(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.wantFrozen("PersistentVolume by-hand of VolumeAttachment csi-")
		c.wantLog(0)

		// Its PersistentVolume comes, as after an upgrade of etcd's peers that lagged.
		c.create(disk("by-hand", func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) }))
		c.wantChanges(1)
		c.wantWanted("11:1 69:2")

		// A PersistentVolume that nobody waits for changes nothing.
		c.create(disk("pvc-of-nobody"))
		c.wantChanges(0)

		c.create(attach(volume2, worker, of("unseen"), named("hand")))
		c.wantFrozen("PersistentVolume unseen of VolumeAttachment hand")
		c.detach("hand")
		c.wantChanges(1)
		c.wantWanted("11:1 69:2")
	}, disk(volume2), attach(volume, worker, of("by-hand"), named("csi-hand")), attach(volume2, worker2))
}

// A cache that is half full would say of everybody else that nobody wants them.
func TestWantedWaitsForBothCaches(t *testing.T) {
	for _, first := range []string{"volumes", "attachments"} {
		t.Run(first, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				tasks := []func(context.Context) error{c.claims.Run, c.attachments.Run}
				if first == "attachments" {
					slices.Reverse(tasks)
				}
				c.run(tasks[0])
				c.settle()
				c.wantFrozen("not filled")
				if _, err := c.attachments.Stale(c.t.Context(), volume, worker2); !errors.Is(err, actors.ErrUnavailable) {
					t.Errorf("Stale = %v, want ErrUnavailable", err)
				}
				c.wantChanges(0)
				c.run(tasks[1])
				c.settle()
				c.wantWanted("11:1")
				c.wantFilled()
			}, disk(volume), attach(volume, worker))
		})
	}
}

func TestChanged(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.create(attach(volume2, worker, notYet))
		c.wantChanges(0)
		update := func(va *storagev1.VolumeAttachment) {
			t.Helper()
			if err := c.client.Tracker().Update(storagev1.SchemeGroupVersion.WithResource("volumeattachments"), va, ""); err != nil {
				t.Fatal(err)
			}
			c.settle()
		}
		update(attach(volume2, worker))
		update(attach(volume2, worker, leaving))
		c.wantChanges(0) // it is wanted still
		c.wantWanted("11:1 69:1")
		c.detach(attach(volume2, worker).Name)
		c.wantChanges(1)
		c.wantWanted("11:1")

		// Deleted and made anew, while the watch was away.
		update(attach(volume, worker, func(va *storagev1.VolumeAttachment) { va.UID = "another" }))
		c.wantChanges(1)
		update(attach(volume, worker, to(worker2), func(va *storagev1.VolumeAttachment) { va.UID = "another" }))
		c.wantChanges(1)
		c.wantWanted("11:2")

		c.create(attach(volume, worker, by("other.example"), named("others")))
		c.detach("others")
		c.wantChanges(0)
	}, disk(volume), disk(volume2), attach(volume, worker))
}

// The watch may miss a deletion, and then tells of it with what it last knew, if anything.
func TestChangedAfterAMissedDeletion(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.attachments.deleted(cache.DeletedFinalStateUnknown{Key: "x", Obj: attach(volume, worker)})
		c.wantChanges(1)
		c.attachments.deleted(cache.DeletedFinalStateUnknown{Key: "x"})
		c.attachments.deleted(attach(volume, worker, by("other.example")))
		c.wantChanges(0)
	})
}

// One that was told of and went may come again, and is told of again.
func TestIgnoredIsToldOfAgain(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.wantWanted("")
		c.wantLog(1)
		c.detach("hand")
		c.create(attach(volume, "", named("hand")))
		c.wantWanted("")
		c.wantLog(1)
		if n := len(c.attachments.told); n != 1 {
			t.Errorf("%d are kept in mind, want 1", n)
		}
	}, disk(volume), attach(volume, "", named("hand")))
}

// Where there is an object, the event is on it.
func TestIgnoredIsAnEvent(t *testing.T) {
	inBubble(t, func(c *cluster) {
		events, told := newEvents(t, c.client, EventsConfig{})
		c.attachments.config.Events = events
		c.run(events.Run)
		c.run(c.claims.Run)
		c.run(c.attachments.Run)
		c.settle()
		c.wantWanted("")
		c.wantWanted("")
		c.settle()
		told.want(t, AttachmentIgnored, "")
		list, err := c.client.CoreV1().Events("default").List(c.t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("events: %v, %v", list, err)
		}
		e := list.Items[0]
		about := corev1.ObjectReference{Kind: "VolumeAttachment", APIVersion: "storage.k8s.io/v1", Name: "hand", UID: attach(volume, "").UID}
		if e.InvolvedObject != about || e.Type != "Warning" || !strings.Contains(e.Message, "node ID") || e.Namespace != "default" {
			t.Errorf("event is %s on %+v: %q", e.Type, e.InvolvedObject, e.Message)
		}
	}, disk(volume), attach(volume, "", named("hand")))
}

// What the cache of ten thousand VolumeAttachments holds.
func TestAttachmentsAreTrimmed(t *testing.T) {
	inCluster(t, func(c *cluster) {
		for _, object := range c.attachments.informer.GetStore().List() {
			va, ok := object.(*storagev1.VolumeAttachment)
			if !ok || va.Annotations != nil || va.Finalizers != nil || va.Status.AttachmentMetadata != nil {
				t.Errorf("kept more than is asked for: %+v", object)
				continue
			}
			if i := inlineOf(va); i != nil && i.FSType != "" || va.Name == "others" && va.Spec.NodeName != "" {
				t.Errorf("kept more than is asked for: %+v", object)
			}
		}
	}, disk(volume), attach(volume, worker), attach(volume, worker, inline(driver, volume), named("inline")),
		attach(volume, worker, by("other.example"), named("others")))
}

func TestAttachmentsConfigIsChecked(t *testing.T) {
	client := fake.NewClientset()
	claims := newClaims(t, client)
	for name, config := range map[string]AttachmentsConfig{
		"no client": {Claims: claims, Driver: driver},
		"no claims": {Client: client, Driver: driver},
		"no driver": {Client: client, Claims: claims},
	} {
		if _, err := NewAttachments(config); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: NewAttachments = %v, want ErrInvalid", name, err)
		}
	}
	a, err := NewAttachments(AttachmentsConfig{Client: client, Claims: claims, Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	if a.config.Timeout != DefaultTimeout {
		t.Errorf("timeout is %v by default", a.config.Timeout)
	}
	a.config.Changed() // nobody asks
}

// One pass over ten thousand.
func BenchmarkWanted(b *testing.B) {
	client := fake.NewClientset()
	claims, err := NewClaims(ClaimsConfig{Client: client, Driver: driver})
	if err != nil {
		b.Fatal(err)
	}
	a, err := NewAttachments(AttachmentsConfig{Client: client, Claims: claims, Driver: driver})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 2)
	go func() { done <- claims.Run(ctx) }()
	go func() { done <- a.Run(ctx) }()
	cache.WaitForCacheSync(ctx.Done(), a.Synced)
	const volumes = 10_000
	for i := range volumes {
		id := actors.VolumeID(fmt.Sprintf("pvc-00000000-0000-4000-8000-%012x", i))
		if err := claims.informer.GetStore().Add(disk(id)); err != nil {
			b.Fatal(err)
		}
		if err := a.informer.GetStore().Add(attach(id, actors.NodeID(fmt.Sprintf("worker-%d", i%300)))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if wanted, err := a.Wanted(); err != nil || len(wanted) != volumes {
			b.Fatalf("%d volumes, %v", len(wanted), err)
		}
	}
	cancel()
	if err := errors.Join(<-done, <-done); err != nil {
		b.Error(err)
	}
}
