// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

const prefix = "[pvc-3b3a5c0e-6f0c-4b62-9f5e-0d0c1a7d9a11]"

// The texts that users of the older driver search for, to the letter.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		a      actors.Announcement
		kind   string
		reason string
		text   string
	}{
		{
			actors.Announcement{Kind: actors.MigrationStarted, Source: "s", Target: "t", Timeout: 300 * time.Second},
			"Normal", "MigrationStarted", prefix + ": KubeVirt live migration started - source: s, target: t, timeout: 5m0s",
		},
		{
			actors.Announcement{Kind: actors.MigrationCompleted, Source: "s", Target: "t", Duration: 83_400 * time.Millisecond},
			"Normal", "MigrationCompleted", prefix + ": KubeVirt live migration completed - source: s -> target: t (duration: 1m23s)",
		},
		{
			actors.Announcement{Kind: actors.MigrationFailed, Source: "s", Target: "t", Reason: "target left", Duration: 12 * time.Second},
			"Warning", "MigrationFailed", prefix + ": KubeVirt live migration failed - source: s, attempted target: t, reason: target left, elapsed: 12s",
		},
		{
			actors.Announcement{Kind: actors.MigrationTimedOut, Source: "s", Target: "t", Duration: 300 * time.Second},
			"Warning", "MigrationFailed", prefix + ": KubeVirt live migration failed - source: s, attempted target: t, reason: timeout, elapsed: 5m0s",
		},
		{
			actors.Announcement{Kind: actors.Attached, Node: "n", Duration: 1234567 * time.Microsecond},
			"Normal", "VolumeAttached", prefix + ": Attached to node n (duration: 1.235s)",
		},
		{
			actors.Announcement{Kind: actors.Detached, Node: "n", Duration: time.Second},
			"Normal", "VolumeDetached", prefix + ": Detached from node n",
		},
		{
			actors.Announcement{Kind: actors.StaleCleared, Node: "n"},
			"Normal", "StaleAttachmentCleared", prefix + ": Cleared stale attachment from deleted node n",
		},
		{
			actors.Announcement{Kind: actors.Conflict, Node: "x", Holder: "y"},
			"Warning", "AttachmentConflict",
			prefix + ": Attachment to node x rejected - volume already attached to node y. Delete the pod on y to release the volume.",
		},
	} {
		c.a.Volume = volume
		m, ok := announced(c.a)
		if !ok || m.kind() != c.kind || m.reason != c.reason || m.text != c.text {
			t.Errorf("%v:\n got %s %s %q\nwant %s %s %q", c.a.Kind, m.kind(), m.reason, m.text, c.kind, c.reason, c.text)
		}
	}
	if m, ok := announced(actors.Announcement{Kind: 99}); ok {
		t.Errorf("an unknown kind became %+v", m)
	}
	for reason, kind := range map[string]string{
		MountFailure: "Warning", RecoveryFailed: "Warning", ConnectionFailure: "Warning", StaleMountDetected: "Normal",
	} {
		m := reported(reason, volume, worker, "device is gone")
		if want := prefix + " on [worker-1]: device is gone"; m.kind() != kind || m.reason != reason || m.text != want {
			t.Errorf("%s: got %s %s %q", reason, m.kind(), m.reason, m.text)
		}
	}
}

// A tally is what Events told about its work.
type tally struct {
	mu      sync.Mutex
	posted  []string
	dropped []string
}

func (c *tally) add(list *[]string) func(string) {
	return func(s string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		*list = append(*list, s)
	}
}

func (c *tally) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.posted) + len(c.dropped)
}

func (c *tally) want(t *testing.T, posted, dropped string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := strings.Join(c.posted, " "); got != posted {
		t.Errorf("posted %q, want %q", got, posted)
	}
	if got := strings.Join(c.dropped, " "); got != dropped {
		t.Errorf("dropped %q, want %q", got, dropped)
	}
}

func newEvents(t *testing.T, client kubernetes.Interface, config EventsConfig) (*Events, *tally) {
	t.Helper()
	told := new(tally)
	config.Client, config.Claims, config.Driver = client, newClaims(t, client), driver
	config.Instance, config.Posted, config.Dropped = "controller-0", told.add(&told.posted), told.add(&told.dropped)
	events, err := NewEvents(config)
	if err != nil {
		t.Fatal(err)
	}
	return events, told
}

// play runs Events in a bubble until it has nothing more to do, however long that takes.
func play(t *testing.T, events *Events, told *tally, then func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- events.Run(ctx) }()
	then()
	time.Sleep(time.Hour)
	if told.count() == 0 {
		t.Error("after an hour, nothing was posted or given up")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func listed(t *testing.T, client kubernetes.Interface) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events("vms").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return strings.Compare(a.Name, b.Name) })
	return list.Items
}

func TestEventsOnTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(pv(string(volume), volume, "disk"))
		events, told := newEvents(t, client, EventsConfig{})
		at := time.Now().Truncate(time.Second)
		play(t, events, told, func() {
			// Two at one instant, as a migration's end and the detach that ended it.
			events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s", At: at})
			events.Announce(actors.Announcement{Kind: actors.MigrationCompleted, Volume: volume, Source: "s", Target: "t", At: at, Duration: time.Minute})
			events.Report(MountFailure, volume, worker, "no device")
		})
		told.want(t, "VolumeDetached MigrationCompleted MountFailure", "")
		got := listed(t, client)
		if len(got) != 3 {
			t.Fatalf("%d events, want 3", len(got))
		}
		e := got[0]
		about := corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "vms", Name: "disk", UID: "uid-of-disk"}
		if e.InvolvedObject != about {
			t.Errorf("event is about %+v", e.InvolvedObject)
		}
		if e.Reason != "VolumeDetached" || e.Type != "Normal" || e.Message != prefix+": Detached from node s" || e.Count != 1 {
			t.Errorf("event is %s %s %q, %d times", e.Type, e.Reason, e.Message, e.Count)
		}
		if e.Source.Component != driver || e.ReportingController != driver || e.ReportingInstance != "controller-0" {
			t.Errorf("event is from %+v, %s, %s", e.Source, e.ReportingController, e.ReportingInstance)
		}
		if !e.FirstTimestamp.Time.Equal(at) || !e.LastTimestamp.Time.Equal(at) {
			t.Errorf("event is of %v to %v, want %v", e.FirstTimestamp, e.LastTimestamp, at)
		}
	})
}

func TestRepeatedEventsAreCountedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(pv(string(volume), volume, "disk"))
		events, told := newEvents(t, client, EventsConfig{})
		play(t, events, told, func() {
			for range 3 {
				events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s"})
			}
		})
		told.want(t, "VolumeDetached VolumeDetached VolumeDetached", "")
		if got := listed(t, client); len(got) != 1 || got[0].Count != 3 {
			t.Errorf("want one event of count 3: %+v", got)
		}
	})
}

func TestEventsAreTriedAgain(t *testing.T) {
	away := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		verb    string
		kind    string
		failure error
		times   int
		posted  string
		dropped string
	}{
		{"claim, away for a while", "get", "persistentvolumes", away, 3, "VolumeDetached", ""},
		{"event, away for a while", "create", "events", away, 3, "VolumeDetached", ""},
		{"throttled", "create", "events", apierrors.NewTooManyRequests("later", 1), 2, "VolumeDetached", ""},
		{"away for good", "create", "events", away, 1 << 30, "", "unavailable"},
		{"forbidden", "create", "events", apierrors.NewForbidden(corev1.Resource("events"), "x", errors.New("rbac")), 1, "", "rejected"},
		{"invalid", "create", "events", apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Event").GroupKind(), "x", nil), 1, "", "rejected"},
		{"no namespace", "create", "events", apierrors.NewNotFound(corev1.Resource("namespaces"), "vms"), 1, "", "rejected"},
		{"no volume", "get", "persistentvolumes", apierrors.NewNotFound(corev1.Resource("persistentvolumes"), "x"), 1, "", "no_claim"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(pv(string(volume), volume, "disk"))
				left := c.times
				client.PrependReactor(c.verb, c.kind, func(clienttesting.Action) (bool, runtime.Object, error) {
					left--
					return left >= 0, nil, c.failure
				})
				events, told := newEvents(t, client, EventsConfig{})
				play(t, events, told, func() {
					events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s"})
				})
				told.want(t, c.posted, c.dropped)
				if n := len(listed(t, client)); n != len(told.posted) {
					t.Errorf("%d events are there, %d were told", n, len(told.posted))
				}
			})
		})
	}
}

// What was announced before the end is posted before Run returns, unless that takes too long.
func TestEventsDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(pv(string(volume), volume, "disk"))
		events, told := newEvents(t, client, EventsConfig{})
		for i := range 3 {
			events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: actors.NodeID(fmt.Sprint(i))})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := events.Run(ctx); err != nil {
			t.Fatal(err)
		}
		told.want(t, "VolumeDetached VolumeDetached VolumeDetached", "")
	})
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		forbid(client, "get", "persistentvolumes")
		events, told := newEvents(t, client, EventsConfig{Drain: 5 * time.Second})
		for range 3 {
			events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s"})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := events.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("drained for %v, want 5s", took)
		}
		told.want(t, "", "unavailable unavailable unavailable")
	})
}

// A volume's loop announces. Were it to wait for an API server that hangs, this test would hang.
func TestAnnounceNeverBlocks(t *testing.T) {
	const queue, announced = 4, 100
	asked := make(chan struct{}, 1)
	client := served(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		hung(w, r)
	})
	events, told := newEvents(t, client, EventsConfig{Queue: queue, Timeout: time.Hour, Drain: time.Nanosecond})
	events.config.Claims.timeout = time.Hour
	announce := func(n int) {
		for range n {
			events.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s"})
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- events.Run(ctx) }()
	announce(1)
	<-asked // Run waits for the API server now
	announce(announced)
	told.want(t, "", strings.TrimSpace(strings.Repeat("queue_full ", announced-queue)))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := len(told.dropped); got != announced+1 {
		t.Errorf("%d of %d were counted as dropped", got, announced+1)
	}
}

func TestEventsConfigIsChecked(t *testing.T) {
	client := fake.NewClientset()
	claims := newClaims(t, client)
	for name, config := range map[string]EventsConfig{
		"no client": {Claims: claims, Driver: driver},
		"no claims": {Client: client, Driver: driver},
		"no driver": {Client: client, Claims: claims},
		"queue":     {Client: client, Claims: claims, Driver: driver, Queue: -1},
	} {
		if _, err := NewEvents(config); !errors.Is(err, actors.ErrInvalid) {
			t.Errorf("%s: NewEvents = %v, want ErrInvalid", name, err)
		}
	}
}
