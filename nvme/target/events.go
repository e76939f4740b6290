// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"slices"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// aerLimit is how many Asynchronous Event Requests may be outstanding.
const aerLimit = 4

// events is the asynchronous event state of a controller, guarded by its mu.
type events struct {
	enabled  uint32     // FeatureAsyncEvents
	masked   uint32     // told, and its log page not read yet
	requests []*command // waiting for an event
	waiting  []tcp.AsyncEvent
	changed  bool // the namespace is in the changed namespace list
}

// newEvents enables every notice, as nvmet does, so that a host need not.
func newEvents() events { return events{enabled: supportedEvents} }

const supportedEvents = tcp.NotifyNamespace | tcp.NotifyDiscovery

// take returns the requests that can be answered, with their events.
func (e *events) take() (answers []*command) {
	for len(e.requests) > 0 && len(e.waiting) > 0 {
		cmd := e.requests[0]
		cmd.reply.DW0 = e.waiting[0].Uint32()
		e.requests, e.waiting = e.requests[1:], e.waiting[1:]
		answers = append(answers, cmd)
	}
	return answers
}

// await holds an Asynchronous Event Request until there is an event. False: there are too many.
func (c *controller) await(q *queue, cmd *command) bool {
	c.mu.Lock()
	if len(c.events.requests) >= aerLimit {
		c.mu.Unlock()
		return false
	}
	c.events.requests = append(c.events.requests, cmd)
	answers := c.events.take()
	c.mu.Unlock()
	q.sendAll(answers)
	return true
}

// abortAwait answers an Asynchronous Event Request as aborted. False: there is none with that CID.
func (c *controller) abortAwait(q *queue, cid uint16) bool {
	c.mu.Lock()
	i := slices.IndexFunc(c.events.requests, func(cmd *command) bool { return cmd.CID == cid })
	if i < 0 {
		c.mu.Unlock()
		return false
	}
	cmd := c.events.requests[i]
	c.events.requests = slices.Delete(c.events.requests, i, i+1)
	c.mu.Unlock()
	q.fail(cmd, tcp.StatusAborted)
	return true
}

// notify queues an event of the kind that bit enables, unless the host has not read about the last.
func (c *controller) notify(bit uint32, event tcp.AsyncEvent) {
	c.t.mu.Lock()
	admin := c.queues[0]
	c.t.mu.Unlock()
	c.mu.Lock()
	if c.events.enabled&bit == 0 || c.events.masked&bit != 0 {
		c.mu.Unlock()
		return
	}
	c.events.masked |= bit
	c.events.waiting = append(c.events.waiting, event)
	answers := c.events.take()
	c.mu.Unlock()
	if admin != nil {
		admin.sendAll(answers)
	}
}

// namespaceChanged tells the host to look at the namespace again.
func (c *controller) namespaceChanged() {
	c.mu.Lock()
	c.events.changed = true
	c.mu.Unlock()
	c.notify(tcp.NotifyNamespace, tcp.AsyncEvent{
		Kind: tcp.AsyncNotice, Info: tcp.NoticeNamespaceChanged, LogPage: tcp.LogChangedNS,
	})
}

// tellDiscovery tells the hosts of discovery controllers that the log changed.
func tellDiscovery(list []*controller) {
	for _, c := range list {
		c.notify(tcp.NotifyDiscovery, tcp.AsyncEvent{
			Kind: tcp.AsyncNotice, Info: tcp.NoticeDiscoveryChanged, LogPage: tcp.LogDiscovery,
		})
	}
}

// acknowledge lets events of a kind be told again, since the host read their log page.
func (c *controller) acknowledge(bit uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events.masked &^= bit
}

// changedList returns the changed namespace list and, unless retain is set, empties it.
func (c *controller) changedList(retain bool) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []uint32
	if c.events.changed {
		ids = []uint32{nsid}
	}
	if !retain {
		c.events.changed = false
	}
	return tcp.AppendNamespaceList(nil, ids...)
}
