// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// annotating plays a test with annotations that are written in a cluster.
func annotating(t *testing.T, play func(*cluster, *Annotations, *tally), objects ...runtime.Object) {
	t.Helper()
	inCluster(t, func(c *cluster) {
		annotations, told := c.annotations(AnnotationsConfig{})
		c.run(annotations.Run)
		play(c, annotations, told)
	}, objects...)
}

func (c *cluster) annotations(config AnnotationsConfig) (*Annotations, *tally) {
	c.t.Helper()
	told := new(tally)
	config.Client, config.Claims, config.Driver, config.Attached = c.client, c.claims, driver, c.attachments.Attached
	config.Written, config.Dropped = func() { told.add(&told.posted)("written") }, told.add(&told.dropped)
	annotations, err := NewAnnotations(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return annotations, told
}

func announcement(kind actors.AnnouncementKind, node actors.NodeID, seconds int) actors.Announcement {
	return actors.Announcement{Kind: kind, Volume: volume, Node: node, At: birth.Add(time.Duration(seconds) * time.Second)}
}

// wantAnnotated checks what stands on a PersistentVolume beside what others wrote there.
func (c *cluster) wantAnnotated(name, nodes, times string) {
	c.t.Helper()
	pv, err := c.client.CoreV1().PersistentVolumes().Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	want := map[string]string{"pv.kubernetes.io/provisioned-by": driver}
	if nodes != "" {
		want["rds.csi.srvlab.io/attached-node"], want["rds.csi.srvlab.io/attached-at"] = nodes, times
	}
	if got := fmt.Sprint(pv.Annotations); got != fmt.Sprint(want) {
		c.t.Errorf("annotations are %v, want %v", got, want)
	}
}

func (c *cluster) patches() (n int) {
	for _, action := range c.client.Actions() {
		if action.Matches("patch", "persistentvolumes") {
			n++
		}
	}
	return n
}

func provisioned(p *corev1.PersistentVolume) {
	p.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": driver}
}

// The life of a VM's disk that migrates.
func TestAnnotations(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, told *tally) {
		for _, step := range []struct {
			a            actors.Announcement
			nodes, times string
		}{
			{announcement(actors.Attached, worker, 0), "worker-1", "2026-03-01T12:00:00Z"},
			{announcement(actors.Attached, worker2, 90), "worker-1,worker-2", "2026-03-01T12:00:00Z,2026-03-01T12:01:30Z"},
			{announcement(actors.Detached, worker, 100), "worker-2", "2026-03-01T12:01:30Z"},
			{announcement(actors.Attached, worker2, 200), "worker-2", "2026-03-01T12:03:20Z"},
			{announcement(actors.Detached, worker2, 300), "", ""},
			{announcement(actors.Attached, worker, 400), "worker-1", "2026-03-01T12:06:40Z"},
			{announcement(actors.StaleCleared, worker, 500), "", ""},
		} {
			annotations.Announce(step.a)
			c.settle()
			c.wantAnnotated(string(volume), step.nodes, step.times)
		}
		before := c.patches()
		for _, kind := range []actors.AnnouncementKind{
			actors.Conflict, actors.MigrationStarted, actors.MigrationCompleted, actors.MigrationFailed, actors.MigrationTimedOut, 99,
		} {
			annotations.Announce(announcement(kind, worker2, 600))
		}
		c.settle()
		if got := c.patches(); got != before {
			t.Errorf("%d writes where nobody came or went", got-before)
		}
		told.want(t, strings.TrimSpace(strings.Repeat("written ", 7)), "")
	}, disk(volume, provisioned))
}

// After a restart the first announcement about a volume tells of one node alone.
func TestAnnotationsKnowWhoWasAttachedBefore(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, _ *tally) {
		annotations.Announce(announcement(actors.Detached, worker, 100))
		c.settle()
		c.wantAnnotated("by-hand", "worker-2", "2026-03-01T12:00:07Z")
		annotations.Announce(announcement(actors.Attached, worker3, 110))
		c.settle()
		c.wantAnnotated("by-hand", "worker-2,worker-3", "2026-03-01T12:00:07Z,2026-03-01T12:01:50Z")
	}, disk("by-hand", provisioned, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) }),
		attach(volume, worker2, of("by-hand"), at(7)), attach(volume, worker, of("by-hand")), attach(volume, worker3, of("by-hand"), notYet))
}

// What is overtaken is not written.
func TestAnnotationsCoalesce(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, told *tally) {
		for i := range 100 {
			annotations.Announce(announcement(actors.Attached, worker, i))
			annotations.Announce(announcement(actors.Detached, worker, i))
			synctest.Wait() // the writer could have written
		}
		annotations.Announce(announcement(actors.Attached, worker2, 7))
		c.settle()
		c.wantAnnotated(string(volume), "worker-2", "2026-03-01T12:00:07Z")
		told.want(t, "written", "")
	}, disk(volume, provisioned))
}

func TestAnnotationsAreTriedAgain(t *testing.T) {
	resource := corev1.Resource("persistentvolumes")
	for _, test := range []struct {
		name    string
		failure error
		times   int
		want    string // of written and dropped
	}{
		{"away for a while", errors.New("connection refused"), 3, "written/"},
		{"throttled", apierrors.NewTooManyRequests("later", 1), 2, "written/"},
		{"another one wrote", apierrors.NewConflict(resource, "x", errors.New("uid")), 2, "written/"},
		{"away for good", errors.New("connection refused"), 1 << 30, "/unavailable"},
		{"forbidden", apierrors.NewForbidden(resource, "x", errors.New("rbac")), 1, "/rejected"},
		{"gone", apierrors.NewNotFound(resource, "x"), 1, "/no_volume"},
	} {
		t.Run(test.name, func(t *testing.T) {
			annotating(t, func(c *cluster, annotations *Annotations, told *tally) {
				left := test.times
				c.client.PrependReactor("patch", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
					left--
					return left >= 0, nil, test.failure
				})
				annotations.Announce(announcement(actors.Attached, worker, 0))
				time.Sleep(time.Hour)
				written, dropped, _ := strings.Cut(test.want, "/")
				told.want(t, written, dropped)
				if written != "" {
					c.wantAnnotated(string(volume), "worker-1", "2026-03-01T12:00:00Z")
					return
				}
				// What is given up is not lost for good: the next announcement says it all.
				left = 0
				annotations.Announce(announcement(actors.Attached, worker2, 1))
				time.Sleep(time.Hour)
				if test.name != "gone" {
					c.wantAnnotated(string(volume), "worker-1,worker-2", "2026-03-01T12:00:00Z,2026-03-01T12:00:01Z")
				}
			}, disk(volume, provisioned))
		})
	}
}

// While one volume's cannot be written, others are.
func TestAnnotationsPassWhatFails(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, _ *tally) {
		c.client.PrependReactor("patch", "persistentvolumes", func(action clienttesting.Action) (bool, runtime.Object, error) {
			patch, ok := action.(clienttesting.PatchAction)
			return ok && patch.GetName() == string(volume), nil, errors.New("admission webhook is away")
		})
		annotations.Announce(announcement(actors.Attached, worker, 0))
		second := announcement(actors.Attached, worker, 0)
		second.Volume = volume2
		annotations.Announce(second)
		time.Sleep(5 * time.Second)
		c.wantAnnotated(string(volume2), "worker-1", "2026-03-01T12:00:00Z")
	}, disk(volume, provisioned), disk(volume2, provisioned))
}

// The patch must not fall on a PersistentVolume that took the name of another.
func TestAnnotationsNameTheUID(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, _ *tally) {
		annotations.Announce(announcement(actors.Attached, worker, 0))
		c.settle()
		for _, action := range c.client.Actions() {
			if patch, ok := action.(clienttesting.PatchAction); ok {
				if got := string(patch.GetPatch()); !strings.Contains(got, `"uid":"uid-of-`+string(volume)+`"`) {
					t.Errorf("patch is %s", got)
				}
				return
			}
		}
		t.Error("nothing was written")
	}, disk(volume, provisioned))
}

// A volume without a PersistentVolume is not kept in mind for ever.
func TestAnnotationsForget(t *testing.T) {
	annotating(t, func(c *cluster, annotations *Annotations, told *tally) {
		annotations.Announce(announcement(actors.Attached, worker, 0))
		c.settle()
		other := announcement(actors.Attached, worker, 0)
		other.Volume = volume2
		annotations.Announce(other)
		c.settle()
		told.want(t, "written", "no_volume")
		if err := c.client.CoreV1().PersistentVolumes().Delete(c.t.Context(), string(volume), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.settle()
		annotations.mu.Lock()
		defer annotations.mu.Unlock()
		if len(annotations.tags) != 0 || len(annotations.queue) != 0 {
			t.Errorf("%d volumes are kept in mind, %d wait", len(annotations.tags), len(annotations.queue))
		}
	}, disk(volume, provisioned))
}

// Before the cache is filled, a PersistentVolume that is not found may be there.
func TestAnnotationsWaitForTheCache(t *testing.T) {
	inBubble(t, func(c *cluster) {
		annotations, told := c.annotations(AnnotationsConfig{})
		c.run(annotations.Run)
		annotations.Announce(announcement(actors.Attached, worker, 0))
		c.settle()
		told.want(t, "", "")
		c.run(c.claims.Run)
		time.Sleep(10 * time.Second)
		told.want(t, "written", "")
		c.wantAnnotated(string(volume), "worker-1", "2026-03-01T12:00:00Z")
	}, disk(volume, provisioned))
}

// What was announced before the end is written before Run returns, unless that takes too long.
func TestAnnotationsDrain(t *testing.T) {
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				want := "written/"
				if away {
					c.fails("patch", "persistentvolumes", errors.New("connection refused"))
					want = "/unavailable"
				}
				annotations, told := c.annotations(AnnotationsConfig{Drain: 5 * time.Second})
				annotations.Announce(announcement(actors.Attached, worker, 0))
				ctx, cancel := context.WithCancel(c.t.Context())
				cancel()
				began := time.Now()
				if err := annotations.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); away != (took == 5*time.Second) {
					t.Errorf("drained for %v", took)
				}
				written, dropped, _ := strings.Cut(want, "/")
				told.want(t, written, dropped)
			}, disk(volume, provisioned))
		})
	}
}

// A volume's loop announces. Were it to wait for an API server that hangs, this test would hang.
func TestAnnotationsNeverBlock(t *testing.T) {
	asked := make(chan struct{}, 1)
	client := served(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		hung(w, r)
	})
	c := newCluster(t)
	if err := c.claims.informer.GetStore().Add(disk(volume)); err != nil {
		t.Fatal(err)
	}
	annotations, told := c.annotations(AnnotationsConfig{Settle: time.Nanosecond, Timeout: time.Hour, Drain: time.Nanosecond})
	annotations.config.Client = client
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- annotations.Run(ctx) }()
	annotations.Announce(announcement(actors.Attached, worker, 0))
	<-asked // Run waits for the API server now
	for i := range 10_000 {
		annotations.Announce(announcement(actors.Attached, worker, i))
	}
	if n := len(annotations.queue); n != 1 {
		t.Errorf("%d writes wait, want the latest alone", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	told.want(t, "", "unavailable unavailable")
}

func TestAnnotationsConfigIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		for name, config := range map[string]AnnotationsConfig{
			"no client": {Claims: c.claims, Driver: driver},
			"no claims": {Client: c.client, Driver: driver},
			"no driver": {Client: c.client, Claims: c.claims},
		} {
			if _, err := NewAnnotations(config); !errors.Is(err, actors.ErrInvalid) {
				t.Errorf("%s: NewAnnotations = %v, want ErrInvalid", name, err)
			}
		}
		a, err := NewAnnotations(AnnotationsConfig{Client: c.client, Claims: c.claims, Driver: driver})
		if err != nil {
			t.Fatal(err)
		}
		if a.config.Settle != time.Second || a.config.Drain != 2*time.Second || a.config.Timeout != DefaultTimeout {
			t.Errorf("defaults are %+v", a.config)
		}
		a.Announce(announcement(actors.Attached, worker, 0)) // of nobody before
	})
}
