// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// detached is announced by each process in turn, seconds after the other.
func detached() actors.Announcement {
	time.Sleep(10 * time.Second)
	return actors.Announcement{Kind: actors.Detached, Volume: volume, Node: "s", At: time.Now()}
}

// A process counts up what the one before it told, and then what it told itself.
func TestEventsGoOnAfterARestart(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		h.died(detached(), detached())
		first := listed(t, h.client)[0]
		h.died(detached(), detached(), detached())
		last := detached()
		h.died(last)
		h.wantEvents("VolumeDetached 6")
		e := listed(t, h.client)[0]
		if e.Name != first.Name || !e.FirstTimestamp.Equal(&first.FirstTimestamp) || e.LastTimestamp.Unix() != last.At.Unix() {
			t.Errorf("it began as %s at %v, and is %s of %v to %v", first.Name, first.FirstTimestamp, e.Name, e.FirstTimestamp, e.LastTimestamp)
		}
	}, bound())
}

// An event that is gone begins anew.
func TestEventsBeginAnewWhenTheirTimeIsOver(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		h.died(detached(), detached())
		name := listed(t, h.client)[0].Name
		expire := func() {
			if err := h.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("events"), "vms", name); err != nil {
				t.Error(err)
			}
		}
		expire()
		h.died(detached())
		h.wantEvents("VolumeDetached 1")

		// Between the look and what is to be done about it.
		h.client.PrependReactor("get", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			expire()
			return false, nil, nil
		})
		h.died(detached())
		h.wantEvents("VolumeDetached 1")
	}, bound())
}

// The cluster took it and the answer was lost: it is there once, and counts once.
func TestALostAnswerIsNoSecondEvent(t *testing.T) {
	for _, c := range []struct {
		name  string
		verb  string
		died  int // events that the process before told
		count string
	}{
		{"the first event", "create", 0, "VolumeDetached 1"},
		{"one more", "patch", 2, "VolumeDetached 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHeritage(t, func(t *testing.T, h *heritage) {
				for range c.died {
					h.died(detached())
				}
				lost := 3
				h.client.PrependReactor(c.verb, "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
					if lost--; lost < 0 {
						return false, nil, nil
					}
					_, _, err := clienttesting.ObjectReaction(h.client.Tracker())(action)
					return true, nil, errors.Join(errors.New("the answer was lost"), err)
				})
				h.process(func(e *Events) { e.Announce(detached()) }).want(t, "VolumeDetached", "")
				h.wantEvents(c.count)
			}, bound())
		})
	}
}

// A node asks again for a volume that it was refused, of a process that does not know that it was.
func TestAConflictIsToldOnceAcrossARestart(t *testing.T) {
	conflict := func(grant time.Time) actors.Announcement {
		time.Sleep(10 * time.Second)
		return actors.Announcement{
			Kind: actors.Conflict, Volume: volume, Node: "x", Holder: "y", At: time.Now(), Grant: actors.TokenAt(grant),
		}
	}
	inHeritage(t, func(t *testing.T, h *heritage) {
		granted := time.Now().Add(700 * time.Millisecond)
		h.died(conflict(granted))
		for range 2 {
			h.process(func(e *Events) { e.Announce(conflict(granted)) }).want(t, "", "")
			h.wantEvents("AttachmentConflict 1")
		}
		// The holder has left and come back: that is another conflict. So is the next one of the same process.
		h.process(func(e *Events) {
			e.Announce(conflict(granted)) // not told
			e.Announce(conflict(time.Now()))
			e.Announce(conflict(time.Now()))
		}).want(t, "AttachmentConflict AttachmentConflict", "")
		h.wantEvents("AttachmentConflict 3")
	}, bound())
	// Told in the same second in which the volume was granted.
	inHeritage(t, func(t *testing.T, h *heritage) {
		granted := time.Now().Add(300 * time.Millisecond)
		a := conflict(granted)
		a.At = granted.Add(400 * time.Millisecond).Truncate(time.Second) // as an event has it
		h.died(a)
		h.process(func(e *Events) { e.Announce(conflict(granted)) }).want(t, "", "")
		h.wantEvents("AttachmentConflict 1")
	}, bound())
}

// What is told of an object of its own goes on as well.
func TestAnIgnoredAttachmentIsOneEventAcrossARestart(t *testing.T) {
	inHeritage(t, func(t *testing.T, h *heritage) {
		about := &corev1.ObjectReference{Kind: "VolumeAttachment", Name: "csi-1", UID: "uid-of-it"}
		for range 2 {
			h.process(func(e *Events) { e.tellAbout(about, AttachmentIgnored, "it names no volume") }).want(t, AttachmentIgnored, "")
		}
		list, err := h.client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Count != 2 {
			t.Errorf("want one event of count 2: %+v, %v", list, err)
		}
	})
}
