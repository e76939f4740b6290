// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A simCluster is the Kubernetes around a box. Its VolumeAttachments appear, are deleted, lose their
// finalizers to somebody in a hurry and come back out of an old backup; what caches show of them is some
// seconds old. The box's lock holds it together.
type simCluster struct {
	box      *simBox
	asked    bool // there is an Orchestrator: without one the nodes are all there is
	kubevirt bool
	limit    int // Config.StaleLimit

	lost     map[NodeID]string // why a node is not well
	away     time.Time         // until then it answers nothing
	unmapped time.Time         // until then a VolumeAttachment cannot be mapped to its volume
	frozen   bool
	lag      time.Duration // of the caches
	shown    time.Time     // what they show is not older than this
}

const nodeGone = "node is gone" // and its object with it

// A simObject is a VolumeAttachment as it is at one time.
type simObject struct {
	wanted, leaving, attached bool
	since                     time.Time
	nqn                       string // its metadata
}

// A simAttachment is one volume on one node: the VolumeAttachment and what the node does.
type simAttachment struct {
	simObject
	past  []pastObject
	uses  bool      // the kubelet lists the volume in use,
	until time.Time // and then not any more; zero: for good
	held  bool      // the driver attached it, nobody has asked for its detach since, and it was not seen left over
	seen  bool      // it may be cleared: a comparison showed it, among few enough
}

type pastObject struct {
	until time.Time
	simObject
}

func (a *simAttachment) become(o simObject) {
	a.past = append(a.past, pastObject{time.Now(), a.simObject})
	a.simObject = o
}

func (a *simAttachment) asOf(t time.Time) simObject {
	for _, p := range a.past {
		if t.Before(p.until) {
			return p.simObject
		}
	}
	return a.simObject
}

func (a *simAttachment) inUse(now time.Time) bool {
	return a.uses && (a.until.IsZero() || now.Before(a.until))
}

func (vol *simVolume) attachment(node NodeID) *simAttachment {
	return &vol.attachments[slices.Index(playNodes, node)]
}

// want has a VolumeAttachment made, where the node is there to have one.
func (c *simCluster) want(vol *simVolume, node NodeID) {
	if a := vol.attachment(node); !a.wanted && c.lost[node] == "" {
		a.become(simObject{wanted: true, since: time.Now()})
		c.box.note(vol.id, "is wanted on %s", node)
	}
}

// attached notes that a publish was answered: a kubelet goes on from there.
func (a *simAttachment) published(nqn string) {
	if !a.wanted || a.leaving {
		return
	}
	o := a.simObject
	o.attached, o.nqn = true, nqn
	a.become(o)
	a.uses, a.until = true, time.Time{}
}

// leave has a VolumeAttachment deleted in order: the pod has ended first, unless it is forced.
func (c *simCluster) leave(vol *simVolume, node NodeID, forced bool) {
	a := vol.attachment(node)
	if !forced && c.lost[node] == "" {
		a.uses = false
	}
	if a.wanted && !a.leaving {
		o := a.simObject
		o.leaving = true
		a.become(o)
	}
}

// drop takes a VolumeAttachment away. Where nobody told the driver, the node may use the volume for a
// while.
func (c *simCluster) drop(vol *simVolume, node NodeID, lingers time.Duration) {
	a := vol.attachment(node)
	if !a.wanted {
		return
	}
	a.become(simObject{})
	if a.uses && a.until.IsZero() {
		a.until = time.Now().Add(lingers)
	}
	c.box.note(vol.id, "is not wanted on %s", node)
	c.vanished()
}

// vanished has the driver compare as soon as the caches show that a VolumeAttachment is gone.
func (c *simCluster) vanished() {
	time.AfterFunc(c.lag+17*time.Millisecond, func() {
		if p := c.box.living(); p != nil {
			p.sup.Recheck()
		}
	})
}

// restore brings the VolumeAttachments of a while ago back.
func (c *simCluster) restore(ago, lingers time.Duration) {
	then := time.Now().Add(-ago)
	for _, id := range c.box.ids {
		vol := c.box.vols[id]
		for i := range vol.attachments {
			a := &vol.attachments[i]
			if o := a.asOf(then); o != a.simObject {
				a.become(o)
				if !o.wanted && a.uses && a.until.IsZero() {
					a.until = time.Now().Add(lingers)
				}
			}
		}
	}
	c.vanished()
}

// look returns the time whose VolumeAttachments caches show.
func (c *simCluster) look() time.Time {
	if at := time.Now().Add(-c.lag); at.After(c.shown) {
		c.shown = at
	}
	return c.shown
}

// Check and Lost are the live reads of Nodes.
func (c *simCluster) Check(_ context.Context, id VolumeID, node NodeID) (string, error) {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	a := c.box.vols[id].attachment(node)
	switch {
	case c.lost[node] != "":
		return "", fmt.Errorf("node %s is out of service: %w", node, ErrPrecondition)
	case !c.asked:
		return "", nil
	case time.Now().Before(c.away):
		return "", ErrUnavailable
	case !a.wanted || a.leaving:
		return "", fmt.Errorf("no VolumeAttachment wants it on node %s: %w", node, ErrPrecondition)
	}
	return a.nqn, nil
}

func (c *simCluster) Lost(_ context.Context, id VolumeID, node NodeID) string {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	return c.whyLost(c.box.vols[id], node)
}

func (c *simCluster) whyLost(vol *simVolume, node NodeID) string {
	now := time.Now()
	switch {
	case node == "" || c.lost[node] != "" || !c.asked:
		return c.lost[node]
	case now.Before(c.away):
		return "the API server does not answer"
	case vol.attachment(node).inUse(now):
		return "node lists it in use"
	}
	return ""
}

// freeze is Config.Frozen.
func (c *simCluster) freeze(context.Context) error {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	if c.frozen || time.Now().Before(c.away) {
		return fmt.Errorf("revokes are frozen: %w", ErrUnavailable)
	}
	return nil
}

// A simOrchestrator is the cluster as one driver process sees it.
type simOrchestrator struct {
	*simCluster
	view   *simView
	filled time.Time // until then its caches are not
}

func (o *simOrchestrator) Wanted() (map[VolumeID][]NodeID, error) {
	b := o.box
	if !o.view.odd(b.ids[0], "wanted") { // who compares is not to be one with who reconciles
		return nil, ErrUnavailable
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := time.Now(); t.Before(o.filled) || t.Before(o.unmapped) || o.view.gone() {
		return nil, ErrUnavailable
	}
	at, wanted := o.look(), map[VolumeID][]NodeID{}
	var left []*simAttachment
	for _, id := range b.ids {
		vol := b.vols[id]
		for i := range vol.attachments {
			a, node := &vol.attachments[i], playNodes[i]
			switch {
			case a.asOf(at).wanted:
				wanted[id] = append(wanted[id], node)
			case o.view.listed[id].Granted(node):
				left = append(left, a)
			}
		}
	}
	if len(left) <= max(o.limit, 0) {
		for _, a := range left {
			a.seen = true
		}
	}
	return wanted, nil
}

// newest returns the ledger that goes for a volume: the box's, or the actor's where that is newer.
func (vol *simVolume) newest() Ledger {
	l := vol.row.Ledger
	if !vol.row.Exists || !vol.row.Ours || l.Cluster != testCluster {
		return Ledger{}
	}
	if s := vol.state; s != nil && s.vol.Ours && s.vol.Ledger.Gen > l.Gen {
		return s.vol.Ledger
	}
	return l
}

// byPerson marks the context of what a person asks for.
type byPerson struct{}

// Stale reads the node first, and whether there is a VolumeAttachment last.
func (o *simOrchestrator) Stale(ctx context.Context, id VolumeID, node NodeID) (lost string, err error) {
	asks := func(vol *simVolume) error {
		if a := vol.attachment(node); ctx.Value(byPerson{}) == nil {
			switch {
			case o.frozen:
				return fmt.Errorf("P7: asks whether %s is left over, and is frozen", node)
			case !a.seen:
				return fmt.Errorf("P7: asks whether %s is left over, which was never seen, or among more than %d", node, o.limit)
			}
		}
		return nil
	}
	uses := false
	if err := o.answer(id, "stale "+string(node), asks, func(vol *simVolume) error {
		lost, uses = o.lost[node], vol.attachment(node).inUse(time.Now())
		return nil
	}); err != nil {
		return "", err
	}
	return lost, o.answer(id, "wanted "+string(node), nil, func(vol *simVolume) error {
		if a := vol.attachment(node); a.wanted || uses && lost != nodeGone {
			return ErrPrecondition
		}
		vol.attachment(node).held = false
		vol.witness.vanished(node, lost)
		o.box.note(id, "has %s left over", node)
		return nil
	})
}

// answer takes its time to read something live, and to say so. What was read may be out of date by then.
func (o *simOrchestrator) answer(id VolumeID, what string, asks, read func(*simVolume) error) error {
	b := o.box
	b.mu.Lock()
	vol := b.vols[id]
	r := b.draw(vol, what)
	if asks != nil && !o.view.gone() {
		b.must(vol, asks(vol))
	}
	b.mu.Unlock()
	if !o.view.pause(took(r) / 2) {
		return ErrUnavailable
	}
	b.mu.Lock()
	err := ErrUnavailable
	if !time.Now().Before(o.away) && (b.calm || r.IntN(30) > 0) {
		err = read(vol)
	}
	b.mu.Unlock()
	if !o.view.pause(took(r) / 4) {
		return ErrUnavailable
	}
	return err
}

func (o *simOrchestrator) Adopt(_ context.Context, id VolumeID) (ad Adoption, err error) {
	err = o.answer(id, "adopt", nil, func(vol *simVolume) error {
		if time.Now().Before(vol.strange) {
			return ErrPrecondition
		}
		ad = Adoption{Access: vol.access, Timeout: vol.timeout}
		for i := range vol.attachments {
			if a := &vol.attachments[i]; a.wanted && a.attached {
				ad.Grants = append(ad.Grants, Grant{Node: playNodes[i], At: TokenAt(a.since)})
			} else if vol.witness.seat(playNodes[i]).told {
				vol.witness.vanished(playNodes[i], "no VolumeAttachment speaks for it")
			}
		}
		slices.SortFunc(ad.Grants, func(a, b Grant) int { return int(a.At - b.At) })
		return nil
	})
	return ad, err
}
