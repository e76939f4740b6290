// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/actors"
)

// Relinquish gives up a connection that the kernel tries to remake, whatever uses its device, if the
// target itself says that the attachment is over: it exports the volume under the NQN of a later one,
// or it has refused this host by name for Config.RefusalTime, at each question. No I/O that waits for the
// connection could ever be carried out then, or only as that of a node which does not have the volume
// any more; it fails, and what waits for it can end. Kernels from 6.10 or so do the same by themselves,
// and do so too when the target merely does not know the NQN. That proves nothing, as a target may be
// starting: the connection stays, and so it does whenever the target does not answer. What is returned
// says why the connection was given up, and is empty where it stays. ErrHostRefused: it stays until the
// host has been refused for longer.
func (d *Devices) Relinquish(ctx context.Context, t Target) (why string, err error) {
	if err := checkTarget(t); err != nil {
		return "", err
	}
	sub, err := d.subsystem(t.NQN)
	if err != nil || !sub.waits(t.Host.NQN) {
		return "", err
	}
	// The kernel gets another one whenever it is let in.
	id, _, err := d.sys.attr("class", "nvme", sub.controllers[0].name, "cntlid")
	if err != nil {
		return "", err
	}
	if why, err = d.over(ctx, t, id); err != nil || why == "" {
		return "", err
	}
	if sub, err = d.subsystem(t.NQN); err != nil || !sub.waits(t.Host.NQN) { // it was let in after all, or is gone
		return "", err
	}
	d.cfg.Logger.WarnContext(ctx, "giving up a connection whose attachment is over", "nqn", t.NQN, "why", why)
	return why, d.waitGone(ctx, t.NQN, d.deleteAll(sub))
}

// waits reports whether the kernel tries to remake all controllers of a subsystem, each as this host.
func (s subsystem) waits(hostNQN string) bool {
	return len(s.controllers) > 0 && !slices.ContainsFunc(s.controllers, func(c controller) bool {
		return c.state != StateConnecting || c.host != hostNQN
	})
}

// over asks the target whether the attachment is over, and returns why. It connects to the subsystem
// only where it is not listed for this host: where it is, the kernel is about to be let in. The
// controller's ID tells which connection was lost.
func (d *Devices) over(ctx context.Context, t Target, id string) (why string, err error) {
	address, err := d.probe(ctx, t)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ProbeTimeout)
	defer cancel()
	listed, err := d.cfg.Prober.Lists(ctx, address.String(), t.Host.NQN)
	if err != nil {
		return "", fmt.Errorf("ask %s what it exports: %w: %w", address, err, actors.ErrUnavailable)
	}
	for _, nqn := range listed {
		if actors.Supersedes(nqn, t.NQN, volumeOf(t.NQN)) {
			return "the target exports the volume as " + nqn, nil
		}
	}
	if !slices.Contains(listed, t.NQN) {
		err = d.cfg.Prober.Admits(ctx, address.String(), t.Host, t.NQN)
	}
	if errors.Is(err, ErrHostRefused) {
		if lasted := d.refusals.last(t.NQN, id, time.Now()); lasted < d.cfg.RefusalTime {
			return "", fmt.Errorf("%w, at each question for %v by now: %w", err, lasted.Truncate(time.Second), actors.ErrUnavailable)
		}
		return "the target refuses host " + t.Host.NQN, nil
	}
	d.refusals.end(t.NQN)
	if err != nil && !errors.Is(err, ErrNotExported) {
		return "", fmt.Errorf("ask %s about %s: %w: %w", address, t.NQN, err, actors.ErrUnavailable)
	}
	return "", nil
}

// refusals remember since when targets refuse this host, by NQN. The zero value is ready.
type refusals struct {
	mu    sync.Mutex
	since map[string]refusal
}

// A refusal is of one lost connection.
type refusal struct {
	id    string // of the controller
	since time.Time
}

// last notes that the host was refused once more, and returns for how long it is.
func (r *refusals) last(nqn, id string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = make(map[string]refusal)
	}
	first, ok := r.since[nqn]
	if !ok || first.id != id {
		first = refusal{id, now}
		r.since[nqn] = first
	}
	return now.Sub(first.since)
}

// end forgets that the host was refused.
func (r *refusals) end(nqn string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, nqn)
}
