// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// standbyWait is how long a standby may take to find a Lease given back: client-go waits retryPeriod times
// 1 + JitterFactor at most between two looks.
const standbyWait = 3 * retryPeriod

// A contender is one controller that wants to lead.
type contender struct {
	*Lease
	stop  context.CancelFunc
	leads atomic.Bool
	drain chan struct{} // closed: lead returns when it is asked to; nil: it does at once
	done  chan error    // of Run
}

func contend(t *testing.T, client kubernetes.Interface, identity string, drain chan struct{}) *contender {
	t.Helper()
	lease, err := NewLease(LeaseConfig{
		Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: identity, WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &contender{Lease: lease, stop: cancel, drain: drain, done: make(chan error, 1)}
	go func() {
		c.done <- lease.Run(ctx, func(ctx context.Context) error {
			c.leads.Store(true)
			defer c.leads.Store(false)
			<-ctx.Done()
			if c.drain != nil {
				<-c.drain
			}
			return nil
		})
	}()
	return c
}

// end asks the contender to end, and waits until it has.
func (c *contender) end(t *testing.T) {
	t.Helper()
	c.stop()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
}

func (c *contender) want(t *testing.T, leads bool) {
	t.Helper()
	synctest.Wait()
	if c.leads.Load() != leads || c.Leading() != leads || (c.MayWrite() == nil) != leads {
		t.Fatalf("%s leads %v, Leading %v, MayWrite %v, want %v", c.config.Identity, c.leads.Load(), c.Leading(), c.MayWrite(), leads)
	}
}

func holder(t *testing.T, client kubernetes.Interface) *coordinationv1.Lease {
	t.Helper()
	lease, err := client.CoordinationV1().Leases("rds-csi").Get(context.Background(), "rds-csi", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// TestOneLeads: the standby takes over at once from a leader that was asked to end, and not before that has
// drained.
func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		drain := make(chan struct{})
		a := contend(t, client, "a", drain)
		time.Sleep(time.Second)
		a.want(t, true)
		b := contend(t, client, "b", nil)
		time.Sleep(5 * time.Minute)
		a.want(t, true)
		b.want(t, false)

		a.stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if !a.leads.Load() || a.MayWrite() != nil {
			t.Fatal("a leader that drains lost the lease")
		}
		b.want(t, false)
		close(drain)
		if err := <-a.done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(standbyWait)
		b.want(t, true)
		if a.Leading() {
			t.Fatal("two lead")
		}
		b.end(t)
		if h := holder(t, client).Spec.HolderIdentity; h != nil && *h != "" {
			t.Fatalf("%s holds the lease still", *h)
		}
	})
}

// TestALeaderThatIsCutOffStopsWritingFirst: no write of the old leader can be under way when the new one
// begins.
func TestALeaderThatIsCutOffStopsWritingFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var cut atomic.Bool
		var renewed time.Time
		client.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
			u, ok := action.(clienttesting.UpdateAction)
			if !ok {
				return false, nil, nil
			}
			lease, ok := u.GetObject().(*coordinationv1.Lease)
			if !ok || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != "a" {
				return false, nil, nil
			}
			if cut.Load() {
				return true, nil, errors.New("no route to the API server")
			}
			renewed = time.Now()
			return false, nil, nil
		})
		a := contend(t, client, "a", nil)
		time.Sleep(time.Second)
		b := contend(t, client, "b", nil)
		time.Sleep(time.Minute)
		a.want(t, true)
		cut.Store(true)

		var lastWrite, first time.Time
		for first.IsZero() {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if a.MayWrite() == nil {
				lastWrite = time.Now()
			}
			if b.MayWrite() == nil {
				first = time.Now()
			}
			if time.Since(renewed) > 5*time.Minute {
				t.Fatal("nobody takes over")
			}
		}
		if gap := first.Sub(lastWrite); gap <= 10*time.Second {
			t.Fatalf("the new leader writes %v after the old one could begin a write that takes 10 s", gap)
		}
		if err := <-a.done; !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("Run = %v, want ErrLeaseLost", err)
		}
		b.end(t)
	})
}

// TestALeaderThatReturnsAtOnceHasLostItsLease: what leads may have ended before the elector has said all it has to
// say, and the process must end all the same, not stand by for ever.
func TestALeaderThatReturnsAtOnceHasLostItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var cut atomic.Bool
		client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			if cut.Load() {
				return true, nil, errors.New("no route to the API server")
			}
			return false, nil, nil
		})
		lease, err := NewLease(LeaseConfig{Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "a", WriteTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			done <- lease.Run(t.Context(), func(ctx context.Context) error {
				// The end of so many contexts takes the elector longer than what leads takes to return.
				for range 20_000 {
					context.AfterFunc(ctx, func() {})
				}
				cut.Store(true)
				<-ctx.Done()
				return nil
			})
		}()
		if err := <-done; !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("Run = %v, want ErrLeaseLost", err)
		}
	})
}

// TestASlowRenewalCountsFromItsBeginning: others count from when they see it, which may be much earlier
// than its answer.
func TestASlowRenewalCountsFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if action.GetVerb() != "get" {
				time.Sleep(6 * time.Second)
			}
			return false, nil, nil
		})
		a := contend(t, client, "a", nil)
		time.Sleep(6*time.Second + time.Millisecond)
		synctest.Wait()
		if left := a.left(); left > a.duration-6*time.Second {
			t.Fatalf("%v are left of %v, 6 s after the renewal began", left, a.duration)
		}
		a.end(t)
	})
}

// TestAStandbyEnds without ever having led.
func TestAStandbyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		a := contend(t, client, "a", nil)
		time.Sleep(time.Second)
		b := contend(t, client, "b", nil)
		time.Sleep(time.Minute)
		b.end(t)
		a.want(t, true)
		a.end(t)
	})
}

// TestALeaderThatFailsGivesTheLeaseBack.
func TestALeaderThatFailsGivesTheLeaseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		lease, err := NewLease(LeaseConfig{Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "a", WriteTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		if err := lease.Run(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
			t.Fatalf("Run = %v", err)
		}
		if h := holder(t, client).Spec.HolderIdentity; h != nil && *h != "" {
			t.Fatalf("%s holds the lease still", *h)
		}
	})
}

func TestALeaseNeedsItsConfig(t *testing.T) {
	if _, err := NewLease(LeaseConfig{}); !errors.Is(err, actors.ErrInvalid) {
		t.Fatalf("NewLease = %v", err)
	}
}

// TestALeaderThatSeesAnotherStopsWriting: a person deleted the Lease, and another process was faster to make
// it anew.
func TestALeaderThatSeesAnotherStopsWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		versioned(client)
		a := contend(t, client, "a", nil)
		time.Sleep(time.Minute + time.Second) // between two renewals
		a.want(t, true)
		leases := client.CoordinationV1().Leases("rds-csi")
		if err := leases.Delete(t.Context(), "rds-csi", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b := contend(t, client, "b", nil)
		time.Sleep(retryPeriod)
		synctest.Wait()
		if h := holder(t, client).Spec.HolderIdentity; *h != "b" || a.MayWrite() == nil || a.Leading() {
			t.Errorf("%s holds the lease; a leads %v, MayWrite %v", *h, a.Leading(), a.MayWrite())
		}
		if err := <-a.done; !errors.Is(err, ErrLeaseLost) {
			t.Errorf("Run = %v", err)
		}
		b.want(t, true)
		b.end(t)
	})
}

// TestALongerLeaseIsWaitedFor: the process that led was told of longer writes than this one, as in an update.
func TestALongerLeaseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		versioned(client)
		now := metav1.NowMicro()
		theirs := int32(300)
		if _, err := client.CoordinationV1().Leases("rds-csi").Create(t.Context(), &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "rds-csi"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("before"), LeaseDurationSeconds: &theirs, RenewTime: &now, AcquireTime: &now},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		b := contend(t, client, "b", nil)
		time.Sleep(4 * time.Minute)
		b.want(t, false)
		for b.MayWrite() != nil {
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took < time.Duration(theirs)*time.Second {
			t.Errorf("it may write after %v", took)
		}
		b.end(t)
	})
}
