// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// An association is one connection of host and controller: an admin queue and its I/O queues (Base
// 2.0, 1.5). It lives until any of its queues fails; another one then takes its place.
type association struct {
	cfg      Config
	cntlid   uint16
	limits   tcp.Capabilities
	identity tcp.ControllerIdentity
	ns       Namespace // as found when connecting

	admin *queue
	io    []*queue

	run sync.WaitGroup // keep alive and events; added to by the controller only

	mu     sync.Mutex
	queues []*queue      // all of them, to be taken down together
	err    error         // why it failed
	fell   chan struct{} // closed when it has
}

func newAssociation(cfg Config) *association {
	return &association{cfg: cfg, fell: make(chan struct{})}
}

// open starts a queue.
func (a *association) open(w *wire, id uint16, depth, inCapsule int) *queue {
	q := newQueue(w, id, depth, inCapsule, a.fail)
	a.mu.Lock()
	a.queues = append(a.queues, q)
	err := a.err
	a.mu.Unlock()
	if err != nil {
		q.fail(err)
	}
	return q
}

// lost returns a channel that is closed when the association has failed. There is none of nil.
func (a *association) lost() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.fell
}

// cause returns why the association failed, or nil.
func (a *association) cause() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// fail takes all queues down. It does not wait for them.
func (a *association) fail(err error) {
	a.mu.Lock()
	first := a.err == nil
	if first {
		a.err = err
		close(a.fell)
	}
	queues := a.queues
	a.mu.Unlock()
	if !first {
		return
	}
	for _, q := range queues {
		q.fail(err)
	}
}

// close takes all queues down and waits until every command is answered and nothing runs.
func (a *association) close(err error) {
	a.fail(err)
	for _, q := range a.queues {
		<-q.gone
	}
	a.run.Wait()
}

// deadline is when to ask expired again. With nothing in flight that is a timeout from now, since
// nothing that is started later can expire earlier. There is none of nil.
func (a *association) deadline(now time.Time, timeout time.Duration) time.Time {
	if a == nil {
		return time.Time{}
	}
	next := now
	if oldest := a.oldest(); !oldest.IsZero() {
		next = oldest
	}
	return next.Add(timeout)
}

// expired reports whether an I/O command has gone without an answer for the timeout.
func (a *association) expired(now time.Time, timeout time.Duration) bool {
	if a == nil {
		return false
	}
	oldest := a.oldest()
	return !oldest.IsZero() && !now.Before(oldest.Add(timeout))
}

func (a *association) oldest() (first time.Time) {
	for _, q := range a.io {
		first = earliest(first, q.slots.oldest())
	}
	return first
}

// ping sends a keep-alive command and waits for its answer, for as long as the association lives.
func (a *association) ping() error {
	sqe := tcp.Command{Opcode: tcp.OpKeepAlive, Flags: tcp.FlagSGL}
	_, err := a.admin.exec(context.Background(), newCommand("keep alive", sqe))
	return err
}

// watch waits for events, and sends what the namespace has become to scans, until the association
// ends or the target refuses to tell. A target that has none to tell is not asked.
func (a *association) watch(log *slog.Logger, scans chan<- scan) {
	if a.identity.OAES&tcp.NotifyNamespace == 0 {
		return
	}
	a.run.Go(func() {
		for {
			sqe := tcp.Command{Opcode: tcp.OpAsyncEventReq, Flags: tcp.FlagSGL}
			completion, err := a.admin.exec(context.Background(), newCommand("wait for events", sqe))
			if err != nil {
				if !errors.Is(err, errLost) {
					log.Warn("no namespace events until the next connect", "cause", err)
				}
				return
			}
			e := tcp.ParseAsyncEvent(completion.DW0)
			if e.Kind != tcp.AsyncNotice || e.Info != tcp.NoticeNamespaceChanged {
				log.Info("event ignored", "kind", e.Kind, "info", e.Info)
				continue
			}
			if err := a.changed(scans); err != nil {
				log.Warn("changed namespace not read", "cause", err)
			}
		}
	})
}

// changed looks at the namespace after an event. The event's log page is read first, which lets the
// target tell of the next change: what happens after that is seen by the scan, or told again.
func (a *association) changed(scans chan<- scan) error {
	ctx := context.Background() // each command has its timeout
	page := tcp.LogPage{ID: tcp.LogChangedNS, Length: tcp.ChangedNSLogLen}
	if _, err := a.logPage(ctx, "read changed namespaces", page); err != nil {
		return err
	}
	ns, err := a.scan(ctx)
	if err != nil && !errors.Is(err, ErrProtocol) {
		return err
	}
	// One that cannot be used any more is none: writing with what it was could hit other blocks.
	return errors.Join(err, a.tell(ctx, ns, scans))
}

// tell sends what the namespace is to the controller, and waits until that is known.
func (a *association) tell(ctx context.Context, ns Namespace, scans chan<- scan) error {
	s := scan{a, ns, make(chan struct{})}
	select {
	case scans <- s:
	case <-a.fell:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.seen:
		return nil
	case <-a.fell:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shutdown lets the commands in flight end and shuts the controller down (Base 2.0, 3.6.1), as far
// as the timeout allows. No more I/O may be started.
func (a *association) shutdown(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, q := range a.io {
		if err := q.drain(ctx); err != nil {
			return fmt.Errorf("wait for i/o in flight: %w", err)
		}
	}
	cc := tcp.Property{Offset: tcp.PropCC, Value: tcp.CCEntrySizes | tcp.CCEnable | tcp.CCShutdownNormal}
	if _, err := a.property(ctx, "shut down", cc.Set()); err != nil {
		return err
	}
	return a.await(ctx, "wait for shutdown", tcp.CSTSShutdownMask, tcp.CSTSShutdownComplete)
}
