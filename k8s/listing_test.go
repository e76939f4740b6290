// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/rds-csi/rds-csi/actors"
)

// A slowList takes a second for each LIST, and answers with its number.
type slowList struct {
	listing
	begun int
	fail  error
}

func newSlowList() *slowList {
	l := &slowList{}
	l.listing = listing{turn: make(chan struct{}, 1), read: func(ctx context.Context) ([]storagev1.VolumeAttachment, error) {
		l.begun++ // one at a time, or the race detector tells
		n := l.begun
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
		return []storagev1.VolumeAttachment{*attach(volume, worker, named(strconv.Itoa(n)))}, l.fail
	}}
	return l
}

// ask returns what a reader gets, when it does: "1" of the first LIST, or an error.
func (l *slowList) ask(ctx context.Context) <-chan string {
	answer := make(chan string, 1)
	go func() {
		items, err := l.get(ctx)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- items[0].Name
	}()
	synctest.Wait()
	return answer
}

func wantAnswers(t *testing.T, want string, answers ...<-chan string) {
	t.Helper()
	for i, answer := range answers {
		if got := <-answer; got != want {
			t.Errorf("reader %d got %q, want %q", i, got, want)
		}
	}
}

// A list that began before a reader asked says nothing to it.
func TestListingBeginsAfterItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowList()
		first := l.ask(t.Context())
		second, third := l.ask(t.Context()), l.ask(t.Context())
		wantAnswers(t, "1", first)
		synctest.Wait() // the second LIST runs
		late := l.ask(t.Context())
		wantAnswers(t, "2", second, third)
		wantAnswers(t, "3", late)
		if l.begun != 3 {
			t.Errorf("%d lists, want 3", l.begun)
		}
	})
}

// Who gives up takes nobody along, be it while it waits or while it reads.
func TestListingOutlivesItsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowList()
		hasty, cancel := context.WithCancel(t.Context())
		first := l.ask(hasty)
		leader, follower := l.ask(hasty), l.ask(t.Context())
		cancel()
		wantAnswers(t, context.Canceled.Error(), first, leader)
		wantAnswers(t, "2", follower)

		hasty, cancel = context.WithCancel(t.Context())
		running := l.ask(t.Context())
		leader, follower = l.ask(t.Context()), l.ask(hasty)
		cancel()
		wantAnswers(t, context.Canceled.Error(), follower)
		wantAnswers(t, "3", running)
		wantAnswers(t, "4", leader)

		hasty, cancel = context.WithCancel(t.Context())
		running = l.ask(t.Context())
		leader, follower = l.ask(hasty), l.ask(t.Context())
		wantAnswers(t, "5", running)
		synctest.Wait() // the leader reads
		cancel()
		wantAnswers(t, context.Canceled.Error(), leader)
		wantAnswers(t, "7", follower)
	})
}

func TestListingFailsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowList()
		l.fail = errors.New("no such luck")
		first := l.ask(t.Context())
		second, third := l.ask(t.Context()), l.ask(t.Context())
		wantAnswers(t, "no such luck", first, second, third)
		l.fail = nil
		wantAnswers(t, "3", l.ask(t.Context()))
	})
}

// A new driver adopts what an older one left, all at once.
func TestAdoptionsShareLists(t *testing.T) {
	const volumes = 20
	objects := []runtime.Object{disk(volume, shared), attach(volume2, worker2), attach(volume, worker)}
	inCluster(t, func(c *cluster) {
		hold := make(chan struct{})
		read := c.attachments.listing.read
		c.attachments.listing.read = func(ctx context.Context) ([]storagev1.VolumeAttachment, error) {
			<-hold
			return read(ctx)
		}
		var readers sync.WaitGroup
		for range volumes {
			readers.Go(func() {
				c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: 300, Grants: []actors.Grant{granted(worker, 0)}})
			})
		}
		synctest.Wait()
		close(hold)
		readers.Wait()
		if c.lists != 2 {
			t.Errorf("%d adoptions made %d lists, want 2", volumes, c.lists)
		}
	}, objects...)
}
