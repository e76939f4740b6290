// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/rds-csi/rds-csi/actors"
)

// seizeTries bounds how often a renewal may come between the read and the write of a Lease that is seized.
const seizeTries = 5

// seize makes the lease this process's, whoever holds it. That one finds out at its next renewal and ends;
// until its own lease has run out it may be writing.
func (l *Lease) seize(ctx context.Context) error {
	var err error
	for range seizeTries {
		if err = l.trySeize(ctx); err == nil {
			return nil
		}
	}
	return fmt.Errorf("take the lease %s from whoever leads: %w: %w", l.config.Name, err, actors.ErrUnavailable)
}

func (l *Lease) trySeize(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	lock := l.lock()
	record, _, err := lock.Get(ctx)
	if Gone(err) || (err == nil && record.HolderIdentity == "") {
		return nil // nobody leads, or gave it back: it is acquired like any other
	}
	if err != nil {
		return err
	}
	now := metav1.Now()
	if err := lock.Update(ctx, resourcelock.LeaderElectionRecord{
		HolderIdentity: l.config.Identity, LeaseDurationSeconds: int(l.duration / time.Second),
		AcquireTime: now, RenewTime: now, LeaderTransitions: record.LeaderTransitions + 1,
	}); err != nil {
		return err
	}
	// Its last renewal was sent before this moment, so that its lease runs out by then.
	wait := max(time.Duration(record.LeaseDurationSeconds)*time.Second, l.duration)
	l.mu.Lock()
	l.after = time.Now().Add(wait)
	l.mu.Unlock()
	l.config.Logger.Info("the lease was taken, waiting until its holder has stopped", "holder", record.HolderIdentity, "wait", wait)
	return nil
}

// waits returns for how long whoever the lease was taken from may be writing yet.
func (l *Lease) waits() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, time.Until(l.after))
}

// others waits until nobody else writes, and reports whether that came before the end of ctx.
func (l *Lease) others(ctx context.Context) bool {
	timer := time.NewTimer(l.waits())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Holder returns the identity of whoever leads, and "" where nobody does. It is ErrUnavailable where that
// cannot be told.
func (l *Lease) Holder(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	record, _, err := l.lock().Get(ctx)
	switch {
	case Gone(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read who holds the lease %s: %w: %w", l.config.Name, err, actors.ErrUnavailable)
	}
	return record.HolderIdentity, nil
}

// FreezeAnnotation returns the key of the annotation on the Lease by which a person freezes what the
// driver of a name revokes by itself: "off" freezes.
func FreezeAnnotation(driver string) string { return driver + "/automatic-revokes" }

// Frozen returns nil where the driver may revoke by itself what is left over, by a live read of the Lease.
// It is ErrPrecondition where a person has frozen that with the FreezeAnnotation of the Lease's name, also
// where its value is not understood, and ErrUnavailable where it cannot be told.
func (l *Lease) Frozen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	lease, err := l.config.Client.CoordinationV1().Leases(l.config.Namespace).Get(ctx, l.config.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read from the lease %s whether automatic revokes are frozen: %w: %w", l.config.Name, err, actors.ErrUnavailable)
	}
	key := FreezeAnnotation(l.config.Name)
	switch value, set := lease.Annotations[key]; {
	case !set, value == "on":
		return nil
	default:
		return fmt.Errorf("the lease %s has the annotation %s=%.32q; remove it and they go on: %w", l.config.Name, key, value, actors.ErrPrecondition)
	}
}
