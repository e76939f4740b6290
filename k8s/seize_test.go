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

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/retry"

	"github.com/rds-csi/rds-csi/actors"
)

// versioned has a fake API server refuse updates of Leases that were changed since they were read, as a
// real one does.
func versioned(client *fake.Clientset) {
	var mu sync.Mutex
	version := 1
	client.PrependReactor("*", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		var lease *coordinationv1.Lease
		switch a := action.(type) {
		case clienttesting.UpdateAction: // as a create is, too
			lease, _ = a.GetObject().(*coordinationv1.Lease)
		}
		if lease == nil {
			return false, nil, nil
		}
		if action.GetVerb() == "update" && lease.ResourceVersion != strconv.Itoa(version) {
			return true, nil, apierrors.NewConflict(coordinationv1.Resource("leases"), lease.Name, errors.New("changed since"))
		}
		version++
		lease.ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
}

// TestALeaseIsSeized: a person's command writes only when the leader, which lives and renews, can have no
// write under way; the others wait until it is done, and what people noted on the Lease stays.
func TestALeaseIsSeized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		versioned(client)
		a := contend(t, client, "a", nil)
		time.Sleep(time.Minute)
		a.want(t, true)
		standby := contend(t, client, "standby", nil)
		time.Sleep(time.Minute)
		if err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // the leader may renew in between
			noted := holder(t, client)
			noted.Annotations = map[string]string{"x": "y"}
			_, err := client.CoordinationV1().Leases("rds-csi").Update(t.Context(), noted, metav1.UpdateOptions{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)

		person, err := NewLease(LeaseConfig{
			Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "person", WriteTimeout: 10 * time.Second, Seize: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if h, err := person.Holder(t.Context()); h != "a" || err != nil {
			t.Fatalf("Holder = %q, %v", h, err)
		}
		done := make(chan error, 1)
		ctx, end := context.WithCancel(t.Context())
		began := make(chan struct{})
		go func() {
			done <- person.Run(ctx, func(ctx context.Context) error {
				close(began)
				<-ctx.Done()
				return nil
			})
		}()
		var lastWrite time.Time
		for led := false; !led; {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if a.MayWrite() == nil {
				lastWrite = time.Now()
			}
			select {
			case <-began:
				led = true
			default:
				if person.MayWrite() == nil {
					t.Fatal("it may write before it leads")
				}
			}
		}
		if gap := time.Since(lastWrite); gap < 10*time.Second {
			t.Fatalf("it began %v after the leader could begin a write that takes 10 s", gap)
		}
		if person.MayWrite() != nil {
			t.Fatal("it leads and may not write")
		}
		if err := <-a.done; !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("the leader's Run = %v", err)
		}
		time.Sleep(10 * time.Minute)
		standby.want(t, false)
		if person.MayWrite() != nil || holder(t, client).Annotations["x"] != "y" {
			t.Fatalf("after a while: %v, %v", person.MayWrite(), holder(t, client).Annotations)
		}
		end()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(standbyWait)
		standby.want(t, true)
		standby.end(t)
	})
}

// TestALongerLeaseIsSeizedLater: whoever holds it may have more time for a write, and be cut off, so that it does not
// see that it was taken.
func TestALongerLeaseIsSeizedLater(t *testing.T) {
	const longer = 80
	synctest.Test(t, func(t *testing.T) {
		now := metav1.NowMicro()
		client := fake.NewClientset(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "rds-csi", Name: "rds-csi"},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: new("a"), LeaseDurationSeconds: new(int32(longer)), AcquireTime: &now, RenewTime: &now,
			},
		})
		person, err := NewLease(LeaseConfig{
			Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "person", WriteTimeout: time.Second, Seize: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := person.Run(t.Context(), func(context.Context) error { return person.MayWrite() }); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(now.Time); waited < longer*time.Second {
			t.Errorf("it led after %v, and its lease lasts %d s", waited, longer)
		}
	})
}

// TestALeaseThatNobodyHoldsIsNotWaitedFor.
func TestALeaseThatNobodyHoldsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		versioned(client)
		contend(t, client, "a", nil).end(t) // gives it back, if it ever had it
		person, err := NewLease(LeaseConfig{
			Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "person", WriteTimeout: time.Second, Seize: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := person.Run(t.Context(), func(context.Context) error { return person.MayWrite() }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 2*retryPeriod {
			t.Errorf("took %v", took)
		}
	})
}

// TestOneThatIsAskedToEndWhileItWaits ends without an error, and the leader leads on.
func TestOneThatIsAskedToEndWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		versioned(client)
		a := contend(t, client, "a", nil)
		time.Sleep(time.Minute)
		a.want(t, true)
		person, err := NewLease(LeaseConfig{
			Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "person", WriteTimeout: 10 * time.Second, Seize: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithTimeout(t.Context(), 10*time.Second) // its wait is longer
		defer end()
		led := false
		if err := person.Run(ctx, func(context.Context) error { led = true; return nil }); err != nil || led {
			t.Errorf("Run = %v, led: %v", err, led)
		}
		time.Sleep(standbyWait)
		a.want(t, true)
		a.end(t)
	})
}

// TestALeaseThatCannotBeReadIsNotSeized.
func TestALeaseThatCannotBeReadIsNotSeized(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no route to the API server")
	})
	lease, err := NewLease(LeaseConfig{Client: client, Namespace: "rds-csi", Name: "rds-csi", Identity: "p", WriteTimeout: time.Second, Seize: true})
	if err != nil {
		t.Fatal(err)
	}
	led := false
	err = lease.Run(t.Context(), func(context.Context) error { led = true; return nil })
	if !errors.Is(err, actors.ErrUnavailable) || led {
		t.Errorf("Run = %v, led: %v", err, led)
	}
	if _, err := lease.Holder(t.Context()); !errors.Is(err, actors.ErrUnavailable) {
		t.Errorf("Holder = %v", err)
	}
}

// TestFrozen fails closed.
func TestFrozen(t *testing.T) {
	for _, c := range []struct {
		name        string
		annotations map[string]string
		missing     bool
		want        error
	}{
		{"not said", nil, false, nil},
		{"on", map[string]string{"rds.csi.srvlab.io/automatic-revokes": "on"}, false, nil},
		{"off", map[string]string{"rds.csi.srvlab.io/automatic-revokes": "off"}, false, actors.ErrPrecondition},
		{"misspelt", map[string]string{"rds.csi.srvlab.io/automatic-revokes": "stop"}, false, actors.ErrPrecondition},
		{"empty", map[string]string{"rds.csi.srvlab.io/automatic-revokes": ""}, false, actors.ErrPrecondition},
		{"no lease", nil, true, actors.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset()
			if !c.missing {
				object := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "rds-csi", Name: driver, Annotations: c.annotations}}
				if err := client.Tracker().Add(object); err != nil {
					t.Fatal(err)
				}
			}
			lease, err := NewLease(LeaseConfig{Client: client, Namespace: "rds-csi", Name: driver, Identity: "a", WriteTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if err := lease.Frozen(t.Context()); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Frozen = %v, want %v", err, c.want)
			}
		})
	}
}
