// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// ControllerInfo tells of a controller: one host's association with a subsystem.
type ControllerInfo struct {
	Subsystem string // NQN
	HostNQN   string
	HostID    uuid.UUID
	CNTLID    uint16
	Port      uint16
	Queues    int // connections, the admin queue's included
}

// A controller is one association: an admin queue and the I/O queues that followed it. It ends with
// its admin queue.
type controller struct {
	t       *Target
	sub     *subsystem
	port    *Port
	id      uint16
	hostNQN string
	hostID  uuid.UUID
	gone    chan struct{} // closed when its last queue has ended and OnDisconnect has returned
	began   uint64        // size of the namespace in blocks when the admin queue's Connect was answered; set before that

	// Guarded by Target.mu.
	queues map[uint16]*queue
	ending bool

	seen  atomic.Bool // a command arrived since the keep-alive timer last fired
	ready atomic.Bool // CSTS.RDY

	mu     sync.Mutex
	cc     uint32
	csts   uint32
	kato   time.Duration // 0: none
	timer  *time.Timer   // of the keep-alive; nil: none
	events events
}

func (c *controller) infoLocked() ControllerInfo {
	return ControllerInfo{
		Subsystem: c.sub.nqn, HostNQN: c.hostNQN, HostID: c.hostID, CNTLID: c.id, Port: c.port.id, Queues: len(c.queues),
	}
}

// end ends controllers, all at once, and waits until none uses its Storage any more.
func end(list []*controller, cause error) {
	for _, c := range list {
		c.end(cause)
	}
	for _, c := range list {
		<-c.gone
	}
}

// end closes the controller's connections. It does not wait.
func (c *controller) end(cause error) {
	c.t.mu.Lock()
	c.ending = true
	queues := make([]*queue, 0, len(c.queues))
	for _, q := range c.queues {
		queues = append(queues, q)
	}
	c.t.mu.Unlock()
	for _, q := range queues {
		q.end(cause)
	}
}

// detach removes a queue whose goroutines have returned. It ends a controller that loses its admin
// queue and lets go of one that lost all.
func (t *Target) detach(q *queue) {
	t.mu.Lock()
	delete(t.queues, q)
	c := q.ctrl
	if c == nil {
		t.mu.Unlock()
		return
	}
	info := c.infoLocked()
	delete(c.queues, q.qid)
	last := len(c.queues) == 0
	t.mu.Unlock()
	if q.qid == 0 {
		c.end(errAdminGone)
	}
	if !last {
		return
	}
	c.setKeepAlive(0)
	c.t.cfg.OnDisconnect(info)
	t.mu.Lock()
	delete(c.sub.controllers, c.id)
	t.mu.Unlock()
	close(c.gone)
}

// setKeepAlive restarts the keep-alive timer; 0 stops it (Base 2.0, 3.9).
func (c *controller) setKeepAlive(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.kato = d
	if d > 0 {
		c.seen.Store(true)
		c.timer = time.AfterFunc(d, c.keepAliveExpired)
	}
}

// keepAliveExpired ends the controller unless a command came since the last time: the traffic based
// keep alive, which ends a silent host after one to two periods. A frozen target measures nothing.
func (c *controller) keepAliveExpired() {
	if c.seen.Swap(false) || c.t.gate.frozen() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.timer != nil {
			c.timer.Reset(c.kato)
		}
		return
	}
	c.t.cfg.Logger.Warn("nvme keep alive expired", "subsystem", c.sub.nqn, "host", c.hostNQN, "cntlid", c.id)
	c.end(errKeepAlive)
}

// touch notes that the host is alive.
func (c *controller) touch() {
	if !c.seen.Load() {
		c.seen.Store(true)
	}
}

// property returns the value of a property.
func (c *controller) property(p tcp.Property) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p.Offset == tcp.PropCAP && p.Wide:
		return tcp.Capabilities{
			MaxQueueEntries: uint16(c.t.cfg.QueueSize - 1), Contiguous: true, TimeoutHalfSec: 15, NVMCommandSet: true,
		}.Uint64(), true
	case p.Offset == tcp.PropVS && !p.Wide:
		return tcp.Version13, true
	case p.Offset == tcp.PropCC && !p.Wide:
		return uint64(c.cc), true
	case p.Offset == tcp.PropCSTS && !p.Wide:
		return uint64(c.csts), true
	}
	return 0, false
}

// configure sets the CC property. It reports whether the controller was reset, so that its I/O
// queues must end.
func (c *controller) configure(cc uint32) (reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.cc
	c.cc = cc
	switch {
	case cc&tcp.CCEnable != 0 && was&tcp.CCEnable == 0:
		if cc&tcp.CCEntrySizesMask == tcp.CCEntrySizes && cc&ccMustBeZero == 0 {
			c.csts = tcp.CSTSReady
		} else {
			c.csts = tcp.CSTSFatal
		}
	case cc&tcp.CCEnable == 0 && was&tcp.CCEnable != 0:
		c.csts &^= tcp.CSTSReady | tcp.CSTSFatal
		c.events = newEvents()
		reset = true
	}
	c.csts &^= tcp.CSTSShutdownMask
	if cc&tcp.CCShutdownMask != 0 {
		c.csts |= tcp.CSTSShutdownComplete
	}
	c.ready.Store(c.csts&tcp.CSTSReady != 0)
	return reset
}

// ccMustBeZero is CSS, MPS and AMS: the NVM command set, pages of 4 KiB and round robin.
const ccMustBeZero = 0x3ff0
