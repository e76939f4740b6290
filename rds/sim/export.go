// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/target"
)

// exports serve over NVMe/TCP the disks that hosts should find. Its methods but written are for the
// machine's goroutine.
type exports struct {
	host    string
	listen  func(ctx context.Context, network, address string) (net.Listener, error)
	sw      Switches
	store   *store
	journal *journal
	log     *slog.Logger
	later   func(time.Duration, func()) // runs a function in the machine's goroutine
	target  *target.Target
	ports   map[uint16]*port
	served  map[diskID]*export
	waiting map[diskID]*disk     // exports that begin after Switches.ExportDelay
	ghosts  map[diskID][]*export // turned off, or of an old NQN, with live connections
	quiet   bool                 // hosts are told of no new size

	mu    sync.Mutex
	files map[string]string // by the NQN of what is served
}

// An export is a disk that is served.
type export struct {
	nqn     string
	port    uint16
	backing *backing
}

func newExports(cfg Config, st *store, j *journal, fs *faults, later func(time.Duration, func())) *exports {
	e := &exports{
		host: cfg.NVMeHost, listen: cfg.Listen, sw: cfg.Switches, store: st, journal: j, log: cfg.Logger, later: later,
		ports: map[uint16]*port{}, served: map[diskID]*export{}, waiting: map[diskID]*disk{},
		ghosts: map[diskID][]*export{}, files: map[string]string{},
	}
	e.target = target.New(target.Config{RetryRefusals: cfg.Switches.Retry, Fault: fs.meetHost, OnWrite: e.written, Logger: cfg.Logger})
	return e
}

// written notes a host's write. The target calls it from its own goroutines.
func (e *exports) written(nqn, hostNQN string, off, n int64) {
	e.mu.Lock()
	name := e.files[nqn]
	e.mu.Unlock()
	e.journal.note(name, nqn, hostNQN, Write{At: time.Now(), Offset: off, Length: n})
}

// change serves a row as next says, which was as old says. When it returns without an error, hosts
// that the change cut off have written their last.
func (e *exports) change(old, next disk) error {
	was, is := old.exported(), next.exported()
	switch {
	case next.ID == 0:
		e.forget(old.ID)
	case !is:
		e.turnOff(old.ID)
	case was && old.nqn(e.sw) == next.nqn(e.sw) && old.port() == next.port() && old.Offset == next.Offset:
		e.update(old, next)
	case was && e.sw.KeepOnNQNChange && old.nqn(e.sw) != next.nqn(e.sw) && old.port() == next.port():
		e.abandon(old.ID)
		return e.start(next)
	default:
		return e.start(next)
	}
	return nil
}

// start serves a row, now or later.
func (e *exports) start(next disk) error {
	switch {
	case e.sw.ExportDelay > 0:
		e.stop(next.ID)
		e.delay(next)
	default:
		return e.begin(next)
	}
	return nil
}

// begin serves a row instead of what is served of it, if anything is.
func (e *exports) begin(d disk) error {
	if e.revive(d) {
		return nil
	}
	// What is served must not end for what cannot begin.
	b, err := e.store.open(d)
	if err != nil {
		return err
	}
	if err := e.open(d.port()); err != nil {
		return errors.Join(err, b.close())
	}
	e.stop(d.ID)
	if err := e.serve(d, b); err != nil {
		e.release(d.port())
		return errors.Join(err, b.close())
	}
	return nil
}

// serve makes a disk whose port is open known to hosts. With an error, the port and the backing are
// the caller's to release.
func (e *exports) serve(d disk, b *backing) error {
	id := uuid.NewSHA1(uuidSpace, []byte(d.File))
	serial := hex.EncodeToString(id[:8])
	if e.sw.NewUUID {
		id = uuid.New()
	}
	x := &export{nqn: d.nqn(e.sw), port: d.port(), backing: b}
	if err := e.target.Add(target.Subsystem{NQN: x.nqn, Storage: b, Hosts: e.hosts(d), UUID: id, Serial: serial}); err != nil {
		return failure("%v", err)
	}
	e.mu.Lock()
	e.files[x.nqn] = d.File
	e.mu.Unlock()
	if err := e.ports[x.port].target.Link(x.nqn); err != nil {
		e.unserve(x)
		return failure("%v", err)
	}
	e.accept(x.port)
	e.served[d.ID] = x
	e.log.Info("disk is exported", "slot", d.Slot, "nqn", x.nqn, "port", x.port)
	return nil
}

// unserve makes a disk unknown to hosts. When it returns they do not write to it any more.
func (e *exports) unserve(x *export) {
	e.target.Remove(x.nqn)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.files, x.nqn)
}

// uuidSpace is the UUIDv5 name space of namespaces, by the name of their file.
var uuidSpace = uuid.MustParse("0c1cf1de-7d4b-5a93-8d3e-5d5a1c1f5d0e")

// delay serves a disk later, unless it changes in between.
func (e *exports) delay(d disk) {
	e.waiting[d.ID] = &d
	mine := e.waiting[d.ID]
	e.later(e.sw.ExportDelay, func() {
		if e.waiting[d.ID] != mine {
			return
		}
		delete(e.waiting, d.ID)
		if err := e.begin(*mine); err != nil {
			e.log.Warn("disk is not exported", "slot", mine.Slot, "error", err)
		}
	})
}

// update tells a served disk's new size and allow list.
func (e *exports) update(old, next disk) {
	if w, ok := e.waiting[old.ID]; ok {
		*w = next
		return
	}
	x := e.served[old.ID]
	if x == nil {
		return // what it needs was missing when the power came on
	}
	if old.AllowHost != next.AllowHost {
		e.allow(x, e.hosts(next))
	}
	if old.bytes() != next.bytes() {
		x.backing.size.Store(next.bytes())
		if !e.sw.NoResizeEvent && !e.quiet {
			e.target.Resize(x.nqn)
		}
	}
}

// allow changes the allow list of what is served.
func (e *exports) allow(x *export, hosts []string) {
	if err := e.target.Allow(x.nqn, hosts); err != nil {
		e.log.Error("allow list cannot be changed", "nqn", x.nqn, "error", err)
	}
	if !e.sw.DropOnAllowChange || hosts == nil {
		return
	}
	for _, c := range e.target.Controllers(x.nqn) {
		if !slices.Contains(hosts, c.HostNQN) {
			e.target.Drop(x.nqn, c.HostNQN)
		}
	}
}

// hosts returns the host NQNs that may connect; nil: any.
func (e *exports) hosts(d disk) []string {
	switch {
	case d.AllowHost == "":
		return nil
	case e.sw.AllowList:
		return strings.Split(d.AllowHost, ",")
	}
	return []string{d.AllowHost}
}

// stop ends what is served of a row.
func (e *exports) stop(id diskID) {
	delete(e.waiting, id)
	if x := e.served[id]; x != nil {
		delete(e.served, id)
		e.drop(x)
	}
}

// drop ends what is served, with the connections of its hosts. A port that closes does so first: who
// tries again must find it closed, as with nvmet, and not be told that the name is unknown.
func (e *exports) drop(x *export) {
	e.release(x.port)
	e.unserve(x)
	if err := x.backing.close(); err != nil {
		e.log.Error("file of a disk cannot be closed", "nqn", x.nqn, "error", err)
	}
	e.log.Info("disk is not exported any more", "nqn", x.nqn)
}

// forget ends all that a removed row was served as.
func (e *exports) forget(id diskID) {
	e.stop(id)
	for _, x := range e.ghosts[id] {
		e.drop(x)
	}
	delete(e.ghosts, id)
}

// turnOff ends the export of a row that stays.
func (e *exports) turnOff(id diskID) {
	if !e.sw.KeepOnExportOff {
		e.forget(id)
		return
	}
	e.abandon(id)
}

// abandon leaves what is served of a row to the hosts that are connected.
func (e *exports) abandon(id diskID) {
	delete(e.waiting, id)
	if x := e.served[id]; x != nil {
		delete(e.served, id)
		e.ghosts[id] = append(e.ghosts[id], x)
		e.allow(x, []string{})
	}
}

// revive serves again, with its connections, what was turned off and has the row's name and port.
func (e *exports) revive(d disk) bool {
	for i, x := range e.ghosts[d.ID] {
		if x.nqn == d.nqn(e.sw) && x.port == d.port() && x.backing.offset == d.Offset {
			e.ghosts[d.ID] = slices.Delete(e.ghosts[d.ID], i, i+1)
			e.served[d.ID] = x
			x.backing.size.Store(d.bytes())
			e.allow(x, e.hosts(d))
			return true
		}
	}
	return false
}

// close ends everything. It is called after the machine has ended, and may be called again.
func (e *exports) close() error {
	e.target.Close()
	var errs []error
	for _, p := range e.ports {
		p.close()
	}
	for _, x := range e.served {
		errs = append(errs, x.backing.close())
	}
	for _, list := range e.ghosts {
		for _, x := range list {
			errs = append(errs, x.backing.close())
		}
	}
	clear(e.ports)
	clear(e.served)
	clear(e.ghosts)
	return errors.Join(errs...)
}
