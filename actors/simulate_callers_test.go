// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A simCaller asks for things of one volume, one after the other. A volume has two.
type simCaller struct {
	s      *simulation
	id     VolumeID
	rnd    *rand.Rand
	access Access
	end    time.Time
}

func newCaller(s *simulation, id VolumeID, volume, lane int, end time.Time) *simCaller {
	c := &simCaller{s: s, id: id, end: end}
	// The access mode is the volume's, but for a caller who is mistaken now and then.
	c.access = s.box.vols[id].access
	c.rnd = rand.New(rand.NewPCG(s.seed, uint64(1000+10*volume+1+lane))) //nolint:gosec // an index
	return c
}

// run asks for one thing after the other until the schedule's end, then detaches the volume everywhere.
func (c *simCaller) run() {
	for time.Now().Before(c.end) && !c.s.t.Failed() {
		c.sleep(6 * time.Second)
		node := playNodes[c.rnd.IntN(len(playNodes))]
		switch k := c.rnd.IntN(20); {
		case k < 9:
			access := c.access
			if c.rnd.IntN(30) == 0 {
				access = AccessReader
			}
			c.attach(node, access)
		case k < 17:
			_ = c.detach(node) // somebody will again
		case k < 18:
			c.operate(OpExpand)
		case k < 19:
			c.operate(OpDelete)
			c.operate(OpCreate)
		default:
			_ = c.detach("")
		}
	}
	c.finish()
}

// sleep waits for an odd time, so that no two callers act at one instant.
func (c *simCaller) sleep(most time.Duration) {
	time.Sleep(time.Duration(c.rnd.Int64N(int64(most))) + 1)
}

// repeat does as a sidecar does: again after a while, until the answer is final. It reports whether it was.
func (c *simCaller) repeat(try func() error) (over bool, err error) {
	for backoff := 500 * time.Millisecond; ; backoff = min(2*backoff, 20*time.Second) {
		if err = try(); final(err) || c.s.t.Failed() {
			return true, err
		}
		if time.Now().Before(c.end) && c.rnd.IntN(6) == 0 {
			return false, err // somebody wants something else meanwhile
		}
		c.sleep(backoff)
	}
}

func (c *simCaller) attach(node NodeID, access Access) {
	c.cluster(func(vol *simVolume) { c.s.cluster.want(vol, node) })
	_, err := c.repeat(func() error {
		if c.s.cluster.Lost(context.Background(), c.id, node) != "" && !c.s.cluster.asked {
			return ErrPrecondition
		}
		return c.ask(Publish{Node: node, Access: access}, func(ctx context.Context, sup *Supervisor) (Volume, error) {
			return sup.Publish(ctx, c.id, node, access, PolicyAuto)
		})
	})
	if err == nil || !c.s.cluster.asked {
		return
	}
	switch c.rnd.IntN(4) { // the pod is given up, or not
	case 0:
	case 1:
		c.cluster(func(vol *simVolume) { c.s.cluster.drop(vol, node, 0) })
	default:
		_ = c.detach(node) // or not even that
	}
}

func (c *simCaller) detach(node NodeID) error {
	forced := c.rnd.IntN(8) == 0
	if node != "" {
		c.cluster(func(vol *simVolume) { c.s.cluster.leave(vol, node, forced) })
	}
	over, err := c.repeat(func() error {
		return c.ask(Unpublish{Node: node}, func(ctx context.Context, sup *Supervisor) (Volume, error) {
			return Volume{}, sup.Unpublish(ctx, c.id, node)
		})
	})
	if node != "" && (over && err == nil || c.rnd.IntN(3) == 0) {
		c.cluster(func(vol *simVolume) {
			if vol.attachment(node).leaving {
				c.s.cluster.drop(vol, node, 0)
			}
		})
	}
	return err
}

// finish ends what the volume is used for. One node may keep it, where there is somebody who wants that,
// and of another nobody may tell the driver that it does not want it any more.
func (c *simCaller) finish() {
	end := rand.New(rand.NewPCG(c.s.seed, c.s.box.vols[c.id].salt)) // of both callers
	keep, silent := NodeID(""), NodeID("")
	if c.s.cluster.asked && end.IntN(3) == 0 {
		keep = playNodes[end.IntN(len(playNodes))]
	}
	if c.s.cluster.asked && end.IntN(3) == 0 {
		silent = playNodes[end.IntN(len(playNodes))]
	}
	for _, node := range playNodes {
		switch node {
		case keep:
		case silent:
			c.cluster(func(vol *simVolume) { c.s.cluster.drop(vol, node, 20*time.Second) })
		default:
			for tries := 0; c.detach(node) != nil && tries < 3; tries++ { // the box may still be refusing
				c.sleep(9 * time.Second)
			}
		}
	}
	if keep != "" {
		c.attach(keep, c.access)
	}
}

func (c *simCaller) cluster(do func(*simVolume)) {
	c.s.box.mu.Lock()
	defer c.s.box.mu.Unlock()
	do(c.s.box.vols[c.id])
}

func (c *simCaller) operate(kind OpKind) {
	_, _ = c.repeat(func() error {
		return c.ask(Exclusive{Op: Operation{Kind: kind}}, func(ctx context.Context, sup *Supervisor) (Volume, error) {
			view, ok := sup.cfg.Box.(*simView)
			if !ok {
				return Volume{}, ErrInvalid
			}
			return sup.Exclusive(ctx, c.id, Operation{Kind: kind, Run: func(ctx context.Context) (Volume, error) {
				return view.operate(ctx, c.id, kind)
			}})
		})
	})
}

// ask makes one request, under the witness's eyes. The caller's patience may end before the answer.
func (c *simCaller) ask(ev Event, call func(context.Context, *Supervisor) (Volume, error)) error {
	c.sleep(time.Millisecond) // who was answered at one instant does not ask at one
	p := c.s.process()
	if p == nil {
		return ErrUnavailable
	}
	patience := time.Duration(c.rnd.Int64N(int64(15*time.Second))) + time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := c.s.box
	b.mu.Lock()
	if c.s.hand {
		b.mu.Unlock()
		return ErrUnavailable
	}
	c.s.asks++
	vol := b.vols[c.id]
	vol.tickets++
	w := vol.tickets
	if un, ok := ev.(Unpublish); ok {
		un.Lost = c.s.cluster.whyLost(vol, un.Node)
		ev = un
	}
	ev = withWaiter(ev, w)
	vol.witness.ask(ev)
	vol.lets(ev)
	b.note(c.id, "is asked to %v", asking{ev: ev})
	b.mu.Unlock()

	v, err := call(ctx, p.sup)
	// Two who were answered at one instant do not act at one.
	defer c.sleep(time.Millisecond)

	b.mu.Lock()
	defer b.mu.Unlock()
	c.s.asks--
	b.note(c.id, "answers %v: %v", asking{ev: ev}, err == nil)
	if p.view.gone() {
		return ErrUnavailable // the connection broke
	}
	if errors.Is(err, context.DeadlineExceeded) {
		vol.witness.abandon(w)
		return err
	}
	b.must(vol, vol.witness.answered(&vol.disk, Reply{Waiter: w, Volume: v, Err: err}, time.Now()))
	if pub, ok := ev.(Publish); ok && err == nil {
		vol.attachment(pub.Node).published(v.NQN)
	}
	b.must(vol, vol.witness.holds(&vol.disk))
	return err
}

// withWaiter returns the request as one of a waiter's.
func withWaiter(ev Event, w Waiter) Event {
	switch ev := ev.(type) {
	case Publish:
		ev.Waiter = w
		return ev
	case Unpublish:
		ev.Waiter = w
		return ev
	case Exclusive:
		ev.Waiter = w
		return ev
	case TakeOver:
		ev.Waiter = w
		return ev
	case Observed, Suspected, Outcome, Done, Tick:
	}
	return ev
}
