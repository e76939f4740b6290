// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// Errors of the methods of Target and Port.
var (
	ErrClosed  = errors.New("target is closed")
	ErrExists  = errors.New("exists")
	ErrUnknown = errors.New("unknown subsystem")
	ErrInvalid = errors.New("invalid subsystem")
)

// A Target is the set of subsystems and ports of one box.
type Target struct {
	cfg       Config
	pool      bufferPool
	gate      *gate
	discovery *subsystem
	done      chan struct{} // closed by Close

	mu         sync.Mutex
	closed     bool
	subsystems map[string]*subsystem
	ports      map[uint16]*Port
	queues     map[*queue]struct{} // every open connection
	serving    sync.WaitGroup      // Serve calls; added to under mu while not closed
	lastCNTLID uint16
}

// New returns a Target without subsystems and ports. Close frees it.
func New(cfg Config) *Target {
	return &Target{
		cfg:        cfg.withDefaults(),
		gate:       newGate(),
		discovery:  newSubsystem(Subsystem{NQN: tcp.DiscoveryNQN}, true),
		done:       make(chan struct{}),
		subsystems: make(map[string]*subsystem),
		ports:      make(map[uint16]*Port),
		queues:     make(map[*queue]struct{}),
	}
}

// Add makes a subsystem known. It is reached once it is linked to a port.
func (t *Target) Add(s Subsystem) error {
	if len(s.NQN) == 0 || len(s.NQN) > tcp.MaxNQN || s.NQN == tcp.DiscoveryNQN {
		return fmt.Errorf("add subsystem %.230q: NQN of 1 to %d bytes wanted: %w", s.NQN, tcp.MaxNQN, ErrInvalid)
	}
	if s.Storage == nil {
		return fmt.Errorf("add subsystem %q: no storage: %w", s.NQN, ErrInvalid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("add subsystem %q: %w", s.NQN, ErrClosed)
	}
	if t.subsystems[s.NQN] != nil {
		return fmt.Errorf("add subsystem %q: %w", s.NQN, ErrExists)
	}
	t.subsystems[s.NQN] = newSubsystem(s, false)
	return nil
}

// Remove unlinks a subsystem from all ports, ends its controllers and forgets it. When it returns
// the Storage is not used any more. An unknown NQN is no error.
func (t *Target) Remove(nqn string) {
	t.mu.Lock()
	s := t.subsystems[nqn]
	delete(t.subsystems, nqn)
	var changed []*controller
	for _, p := range t.ports {
		if p.links[nqn] {
			changed = append(changed, p.unlinkLocked(nqn)...)
		}
	}
	doomed := s.match(func(*controller) bool { return true })
	t.mu.Unlock()
	end(doomed, errors.New("subsystem removed"))
	tellDiscovery(changed)
}

// Allow sets the host NQNs that may connect to a subsystem; nil: any, empty: none. Live controllers
// stay.
func (t *Target) Allow(nqn string, hosts []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.subsystems[nqn]
	if s == nil {
		return fmt.Errorf("allow hosts of subsystem %q: %w", nqn, ErrUnknown)
	}
	s.hosts = slices.Clone(hosts)
	return nil
}

// Drop ends a subsystem's controllers of one host, or of every host if hostNQN is empty. When it
// returns they do not use the Storage any more. The host may connect again, if it is allowed to.
func (t *Target) Drop(nqn, hostNQN string) {
	t.mu.Lock()
	doomed := t.subsystems[nqn].match(func(c *controller) bool { return hostNQN == "" || c.hostNQN == hostNQN })
	t.mu.Unlock()
	end(doomed, errors.New("host dropped"))
}

// Resize tells the hosts of a subsystem that the size of its Storage changed. Without it they see
// the new size when they next look.
func (t *Target) Resize(nqn string) {
	t.mu.Lock()
	live := t.subsystems[nqn].match(func(*controller) bool { return true })
	t.mu.Unlock()
	for _, c := range live {
		c.namespaceChanged()
	}
}

// Freeze stops the target: nothing is read, executed or answered, while connections stay open. Calls
// into a Storage that began go on. Drop, Unlink, Remove and Close work as ever.
func (t *Target) Freeze() { t.gate.shut() }

// Thaw undoes Freeze. What arrived in between is executed.
func (t *Target) Thaw() { t.gate.open() }

// Controllers returns the live controllers of a subsystem by CNTLID.
func (t *Target) Controllers(nqn string) []ControllerInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.subsystems[nqn]
	if nqn == tcp.DiscoveryNQN {
		s = t.discovery
	}
	var infos []ControllerInfo
	for _, c := range s.match(func(*controller) bool { return true }) {
		infos = append(infos, c.infoLocked())
	}
	slices.SortFunc(infos, func(a, b ControllerInfo) int { return int(a.CNTLID) - int(b.CNTLID) })
	return infos
}

// Close ends every port and connection and waits for them.
func (t *Target) Close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.done)
	}
	t.mu.Unlock()
	t.serving.Wait()
}
