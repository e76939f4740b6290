// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// A heritage is a cluster in which a process has died, and what its heir makes of that.
type heritage struct {
	t       *testing.T
	client  *fake.Clientset
	results tally // of the heir's looks
}

func inHeritage(t *testing.T, play func(*testing.T, *heritage), objects ...runtime.Object) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { play(t, &heritage{t: t, client: fake.NewClientset(objects...)}) })
}

// process runs Events for an hour and a bit, which is longer than anybody looks.
func (h *heritage) process(then func(*Events)) *tally {
	h.t.Helper()
	events, told := newEvents(h.t, h.client, EventsConfig{Inherited: h.results.add(&h.results.posted)})
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- events.Run(ctx) }()
	then(events)
	time.Sleep(time.Hour + time.Minute)
	cancel()
	if err := <-done; err != nil {
		h.t.Error(err)
	}
	return told
}

// died runs a process for as long as it takes to post some events.
func (h *heritage) died(as ...actors.Announcement) {
	h.t.Helper()
	events, _ := newEvents(h.t, h.client, EventsConfig{})
	for _, a := range as {
		events.Announce(a)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	cancel()
	if err := events.Run(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// inherits runs a process that inherits announcements and has nothing else to do.
func (h *heritage) inherits(as ...actors.Announcement) *tally {
	h.t.Helper()
	return h.process(func(e *Events) { e.Inherit(as) })
}

// wantResults compares what the heir found.
func (h *heritage) wantResults(want string) {
	h.t.Helper()
	h.results.want(h.t, want, "")
}

// wantEvents compares the events that are on the claim, as "<reason> <count>".
func (h *heritage) wantEvents(want ...string) {
	h.t.Helper()
	var got []string
	for _, e := range listed(h.t, h.client) {
		got = append(got, fmt.Sprintf("%s %d", e.Reason, e.Count))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.t.Errorf("events %q, want %q", got, want)
	}
}

// ended is what a ledger says of a migration from s to t that ended with success: of the source nothing.
func ended(ago time.Duration) actors.Announcement {
	return actors.Announcement{
		Kind: actors.MigrationCompleted, Volume: volume, Target: "t", At: time.Now(), Duration: ago,
		Grant: actors.TokenAt(time.Now().Add(-ago)),
	}
}

// announcedOf returns what was announced of the same migration.
func announcedOf(a actors.Announcement, kind actors.AnnouncementKind) actors.Announcement {
	return actors.Announcement{
		Kind: kind, Volume: a.Volume, Source: "s", Target: "t", At: time.Now(), Grant: a.Grant,
		Timeout: 5 * time.Minute, Duration: 83 * time.Second,
	}
}

func bound() *corev1.PersistentVolume { return pv(string(volume), volume, "disk") }

// The one before was killed when the box had the outcome and the cluster had not.
func TestAnInheritedOutcomeIsToldOnce(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		a := ended(90 * time.Second)
		h.died(announcedOf(a, actors.MigrationStarted))
		h.inherits(a).want(t, "MigrationCompleted", "")
		h.wantResults("posted")
		h.wantEvents("MigrationCompleted 1", "MigrationStarted 1")
		want := prefix + ": KubeVirt live migration completed - source: s -> target: t (duration: at most 1m30s)"
		if !slices.ContainsFunc(listed(t, h.client), func(e corev1.Event) bool {
			return e.Message == want && e.InvolvedObject.UID == "uid-of-disk" && e.LastTimestamp.Unix() == a.At.Unix()
		}) {
			t.Errorf("none says %q: %+v", want, listed(t, h.client))
		}
	}, bound())
}

// What was told is not told again, whoever told it and in whichever words.
func TestAnOutcomeThatWasToldIsNotToldAgain(t *testing.T) {
	for _, kind := range []actors.AnnouncementKind{actors.MigrationCompleted, actors.MigrationFailed, actors.MigrationTimedOut} {
		inHeritage(t, func(t *testing.T, h *heritage) {
			a := ended(time.Minute)
			a.Kind = kind
			h.died(announcedOf(a, kind))
			there := listed(t, h.client)
			h.inherits(a).want(t, "", "")
			h.wantResults("told")
			if now := listed(t, h.client); len(now) != 1 || now[0].Message != there[0].Message || now[0].Count != 1 {
				t.Errorf("%v: events were %+v, are %+v", kind, there, now)
			}
		}, bound())
	}
}

// A leader that has lost its lease without knowing yet posts what waited in its queue: the next one was faster.
func TestALatePostOfAnEarlierLeaderIsNoSecondEvent(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		a := ended(time.Minute)
		told := h.process(func(e *Events) {
			e.Inherit([]actors.Announcement{a})
			time.Sleep(10 * time.Second)
			e.Announce(announcedOf(a, actors.MigrationCompleted))
		})
		told.want(t, "MigrationCompleted MigrationCompleted", "")
		h.wantEvents("MigrationCompleted 1")
	}, bound())
}

// Two migrations between the same nodes that took as long are two, and many are not combined.
func TestMigrationsAreNotCombined(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		const migrations = 2 * eventSimilar
		var all, told []actors.Announcement
		for i := range migrations {
			a := ended(time.Minute)
			a.Grant += actors.Token(i)
			all, told = append(all, a), append(told, announcedOf(a, actors.MigrationCompleted))
		}
		h.died(told...)
		h.inherits(all...).want(t, "", "")
		if n := len(listed(t, h.client)); n != migrations {
			t.Errorf("%d events of %d migrations", n, migrations)
		}
	}, bound())
}

// A ledger that has no more than the outcome is told of too.
func TestAnInheritedOutcomeIsToldAsFarAsItIsKnown(t *testing.T) {
	for _, c := range []struct {
		a    actors.Announcement
		want string
	}{
		{actors.Announcement{Kind: actors.MigrationCompleted, Target: "t"}, "completed - source: unknown -> target: t (duration: at most 2m0s)"},
		{actors.Announcement{Kind: actors.MigrationFailed, Source: "s"}, "failed - source: s, attempted target: unknown, reason: unknown, elapsed: at most 2m0s"},
		{actors.Announcement{Kind: actors.MigrationFailed}, "failed - source: unknown, attempted target: unknown, reason: unknown, elapsed: at most 2m0s"},
		{actors.Announcement{Kind: actors.MigrationTimedOut, Source: "s", Target: "t"}, "failed - source: s, attempted target: t, reason: timeout, elapsed: at most 2m0s"},
		{actors.Announcement{Kind: actors.MigrationStarted, Source: "s", Target: "t", Timeout: time.Minute}, "started - source: s, target: t, timeout: 1m0s"},
	} {
		inHeritage(t, func(t *testing.T, h *heritage) {
			c.a.Volume, c.a.At, c.a.Duration, c.a.Grant = volume, time.Now(), 2*time.Minute, actors.TokenAt(time.Now())
			h.inherits(c.a)
			h.wantResults("posted")
			if got := listed(t, h.client); len(got) != 1 || got[0].Message != prefix+": KubeVirt live migration "+c.want {
				t.Errorf("want %q, events are %+v", c.want, got)
			}
		}, bound())
	}
}

// Whether the event of an older migration was posted, its absence does not tell.
func TestWhatIsTooOldIsNotLookedFor(t *testing.T) {
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{
		{eventLife - headStart - time.Second, "posted"},
		{eventLife - headStart, "late"}, // when it is looked for
		{eventLife, ""},
		{24 * time.Hour, ""},
	} {
		inHeritage(t, func(t *testing.T, h *heritage) {
			h.inherits(ended(c.ago))
			h.wantResults(c.want)
			if asked := len(h.client.Actions()); (asked > 0) != (c.want == "posted") {
				t.Errorf("%v ago: %d requests", c.ago, asked)
			}
		}, bound())
	}
}

// A fleet that has not migrated of late costs nothing.
func TestAFleetAtRestIsNotLookedFor(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		var all []actors.Announcement
		for i := range 10_000 {
			a := ended(time.Hour + time.Duration(i)*time.Minute)
			a.Volume = actors.VolumeID(fmt.Sprintf("pvc-%036d", i))
			all = append(all, a)
		}
		h.inherits(all...).want(t, "", "")
		h.wantResults("")
		if asked := h.client.Actions(); len(asked) > 0 {
			t.Errorf("%d requests, the first is %v", len(asked), asked[0])
		}
	})
}

// One that has migrated as a whole is looked at by and by, and what happens now does not wait for that.
func TestLookingIsInNobodysWay(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		const fleet = 1000
		var mu sync.Mutex
		var began time.Time
		busy := 0
		h.client.PrependReactor("get", "persistentvolumes", func(action clienttesting.Action) (bool, runtime.Object, error) {
			get, ok := action.(clienttesting.GetAction)
			if !ok {
				return false, nil, nil
			}
			return true, pv(get.GetName(), actors.VolumeID(get.GetName()), get.GetName()), nil
		})
		h.client.PrependReactor("get", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			mu.Lock()
			if began.IsZero() {
				began = time.Now()
			}
			if busy++; busy > 1 {
				t.Error("two are looked for at once")
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			busy--
			mu.Unlock()
			return true, &corev1.Event{}, nil
		})
		told := h.process(func(e *Events) {
			var all []actors.Announcement
			for i := range fleet {
				a := ended(time.Minute)
				a.Volume = actors.VolumeID(fmt.Sprintf("pvc-%036d", i))
				all = append(all, a)
			}
			e.Inherit(all)
			time.Sleep(10 * time.Second)
			e.Announce(actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s"})
			synctest.Wait()
			if got := len(listed(t, h.client)); got != 1 {
				t.Errorf("%d events are posted at once, want 1", got)
			}
		})
		told.want(t, "VolumeDetached", "")
		if n := h.results.count(); n != fleet {
			t.Errorf("%d of %d were looked for", n, fleet)
		}
	})
}

func TestInheritedEventsAreLookedForAgain(t *testing.T) {
	away := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		verb    string
		kind    string
		failure error
		times   int
		want    string
		dropped string
	}{
		{"claim, away for a while", "get", "persistentvolumes", away, 9, "posted", ""},
		{"look, away for a while", "get", "events", away, 9, "posted", ""},
		{"post, away for a while", "create", "events", away, 9, "posted", ""},
		{"throttled", "create", "events", apierrors.NewTooManyRequests("later", 1), 2, "posted", ""},
		{"away for good", "get", "events", away, 1 << 30, "late", ""},
		{"another was faster", "create", "events", apierrors.NewAlreadyExists(corev1.Resource("events"), "x"), 1 << 30, "told", ""},
		{"must not look", "get", "events", apierrors.NewForbidden(corev1.Resource("events"), "x", errors.New("rbac")), 1, "rejected", "rejected"},
		{"must not post", "create", "events", apierrors.NewForbidden(corev1.Resource("events"), "x", errors.New("rbac")), 1, "rejected", "rejected"},
		{"no volume", "get", "persistentvolumes", apierrors.NewNotFound(corev1.Resource("persistentvolumes"), "x"), 1, "no_claim", "no_claim"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHeritage(t, func(t *testing.T, h *heritage) {
				left := c.times
				h.client.PrependReactor(c.verb, c.kind, func(clienttesting.Action) (bool, runtime.Object, error) {
					left--
					return left >= 0, nil, c.failure
				})
				posted := ""
				if c.want == "posted" {
					posted = "MigrationCompleted"
				}
				h.inherits(ended(time.Minute)).want(t, posted, c.dropped)
				h.wantResults(c.want)
				if n := len(listed(t, h.client)); (n == 1) != (c.want == "posted") {
					t.Errorf("%d events are there", n)
				}
				if asked := len(h.client.Actions()); asked > 300 {
					t.Errorf("%d requests in an hour", asked)
				}
			}, bound())
		})
	}
}

// The next one goes on where this one ends, at once.
func TestTheHeirIsStopped(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, headStart, 10 * time.Second} {
		inHeritage(t, func(t *testing.T, h *heritage) {
			h.client.PrependReactor("get", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("connection refused")
			})
			events, _ := newEvents(t, h.client, EventsConfig{})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- events.Run(ctx) }()
			events.Inherit([]actors.Announcement{ended(time.Minute), ended(time.Second)})
			time.Sleep(after)
			began := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("stopped after %v, it took %v", after, took)
			}
		}, bound())
	}
}

// An event's name is one for all who would tell the same, and a name whatever its object is called.
func TestEventNames(t *testing.T) {
	long := strings.Repeat("a", 253)
	about := func(name, uid string) *corev1.ObjectReference {
		return &corev1.ObjectReference{Name: name, UID: types.UID(uid)}
	}
	seen := map[string]string{}
	for _, c := range []struct{ what, name string }{
		{"an event", eventName(about("disk", "1"), "Normal", "Reason", "text")},
		{"of another claim of that name", eventName(about("disk", "2"), "Normal", "Reason", "text")},
		{"of another kind", eventName(about("disk", "1"), "Warning", "Reason", "text")},
		{"other words", eventName(about("disk", "1"), "Normal", "Reason", "text!")},
		{"a start", migrationEvent(about("disk", "1"), volume, 1, migrationStart)},
		{"an end", migrationEvent(about("disk", "1"), volume, 1, migrationEnd)},
		{"another end", migrationEvent(about("disk", "1"), volume, 2, migrationEnd)},
		{"another volume's", migrationEvent(about("disk", "1"), volume2, 1, migrationEnd)},
		{"a long name", eventName(about(long, "1"), "a")},
		{"no name for an event", eventName(about("system:node", "2"), "a")},
	} {
		if other, ok := seen[c.name]; ok {
			t.Errorf("%s has the name of %s: %s", c.what, other, c.name)
		}
		seen[c.name] = c.what
		if why := validation.IsDNS1123Subdomain(c.name); len(why) > 0 {
			t.Errorf("%s: %q is no name: %v", c.what, c.name, why)
		}
	}
}
