// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"
)

// A Sim is a simulated box with its power on, but for the moments of a reboot.
type Sim struct {
	hw hardware

	power chan struct{} // held by who turns the power on or off; one place

	mu      sync.Mutex
	current *boot // nil once closed; ended while a reboot is under way
}

// ErrClosed is the error of a method that needs a box that was closed.
var ErrClosed = errors.New("simulated box is closed")

// Start opens the box's directory and turns the power on. The context bounds the start alone: Close
// ends the box.
func Start(ctx context.Context, cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start the simulated box: %w", err)
	}
	st, err := openStore(cfg.Dir, cfg.Pool)
	if err != nil {
		return nil, fmt.Errorf("start the simulated box: %w", err)
	}
	s := &Sim{
		hw:    hardware{cfg: cfg, store: st, journal: newJournal(), counts: newCounts(), faults: newFaults(), settings: newSettings(cfg)},
		power: make(chan struct{}, 1),
	}
	var hosts []string
	if host, _, err := net.SplitHostPort(cfg.TLSAddr); err == nil {
		hosts = append(hosts, host)
	}
	s.hw.cert, err = openCertificate(cfg.Dir, hosts)
	if err == nil {
		s.hw.hostKey, err = openHostKey(cfg.Dir)
	}
	if err == nil {
		s.current, err = s.hw.boot(ctx, again{})
	}
	if err != nil {
		return nil, fmt.Errorf("start the simulated box: %w", errors.Join(err, st.close()))
	}
	// A reboot must not move the box.
	now := s.current.cfg
	s.hw.cfg.APIAddr, s.hw.cfg.TLSAddr, s.hw.cfg.SSHAddr = now.APIAddr, now.TLSAddr, now.SSHAddr
	return s, nil
}

// APIAddr returns host:port of the plain API, or Off.
func (s *Sim) APIAddr() string { return s.hw.cfg.APIAddr }

// TLSAddr returns host:port of the API over TLS, or Off.
func (s *Sim) TLSAddr() string { return s.hw.cfg.TLSAddr }

// SSHAddr returns host:port of SSH, or Off.
func (s *Sim) SSHAddr() string { return s.hw.cfg.SSHAddr }

// HostKey returns the public half of the key that the box shows over SSH. It stays the same as long
// as the directory does.
func (s *Sim) HostKey() ssh.PublicKey { return s.hw.hostKey.PublicKey() }

// CertificateFile returns the name of the file that holds the box's certificate in PEM.
func (s *Sim) CertificateFile() string { return filepath.Join(s.hw.cfg.Dir, certificateFile) }

// Certificate returns the box's self-signed certificate in PEM.
func (s *Sim) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.hw.cert.Certificate[0]})
}

// Roots returns a pool that holds the box's certificate alone.
func (s *Sim) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Certificate())
	return roots
}

// boot returns the current boot, which is nil once the box is closed.
func (s *Sim) boot() *boot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// hold keeps the power as it is, and returns the current boot, until release is called.
func (s *Sim) hold(ctx context.Context) (b *boot, release func(), err error) {
	select {
	case s.power <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	release = func() { <-s.power }
	if b = s.boot(); b == nil {
		release()
		return nil, nil, ErrClosed
	}
	return b, release, nil
}

// Close turns the power off for good and waits for every goroutine. The directory keeps the disks.
// A second Close does nothing.
func (s *Sim) Close() error {
	s.power <- struct{}{}
	defer func() { <-s.power }()
	b := s.boot()
	if b == nil {
		return nil
	}
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	return errors.Join(b.stop(), s.hw.store.close())
}

// DropConnections ends every connection of the API and SSH. Connections of NVMe hosts stay.
func (s *Sim) DropConnections() {
	if b := s.boot(); b != nil {
		b.sessions.drop()
	}
}

// A Disk is a row of the disk table, for tests.
type Disk struct {
	ID        string `json:"id"` // such as *2
	Slot      string `json:"slot"`
	Comment   string `json:"comment"`
	File      string `json:"file"` // without a leading slash
	Size      int64  `json:"size"` // of the block device, in bytes
	Export    bool   `json:"export"`
	Port      uint16 `json:"port"` // 4420 where the row has none
	NQN       string `json:"nqn"`  // the box's own where the row has none
	AllowHost string `json:"allow-host"`
	Disabled  bool   `json:"disabled"`
}

// Disks returns the disk table without the pool, by ascending ID. It is empty once the box is closed.
func (s *Sim) Disks() []Disk {
	var disks []Disk
	for _, d := range s.table().disks {
		disks = append(disks, d.shown(s.hw.cfg.Switches))
	}
	return disks
}

// shown returns a row for tests; that of no row is zero.
func (d disk) shown(sw Switches) Disk {
	if d.ID == 0 {
		return Disk{}
	}
	return Disk{
		ID: d.ID.String(), Slot: d.Slot, Comment: d.Comment, File: d.File, Size: d.bytes(),
		Export: d.Export, Port: d.port(), NQN: d.nqn(sw), AllowHost: d.AllowHost, Disabled: d.Disabled,
	}
}

// A File is a file in the pool, for tests.
type File struct {
	Name string `json:"name"` // without a leading slash
	Size int64  `json:"size"` // in bytes
}

// Files returns the files of the pool, by name, without directories. It is empty once the box is
// closed.
func (s *Sim) Files() []File {
	var list []File
	for name, f := range s.table().files {
		if !f.dir {
			list = append(list, File{Name: name, Size: f.size})
		}
	}
	slices.SortFunc(list, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Free returns the room that is left in the pool, in bytes.
func (s *Sim) Free() int64 { return s.table().free(pool{capacity: s.hw.cfg.Capacity}) }

func (s *Sim) table() table {
	if b := s.boot(); b != nil {
		return b.machine.table()
	}
	return table{}
}

// Journal returns who wrote when, in the order of the first writes, over all boots.
func (s *Sim) Journal() []JournalEntry { return s.hw.journal.list() }

// JournalForgotten returns how many entries the journal has lost, as it holds only so many. A test that
// proves that somebody did not write wants none.
func (s *Sim) JournalForgotten() int64 { return s.hw.journal.forgotten() }

// Hosts returns the NQNs of the hosts that are connected to a subsystem, one for each connection of a
// host.
func (s *Sim) Hosts(nqn string) []string {
	var hosts []string
	if b := s.boot(); b != nil {
		for _, c := range b.exports.target.Controllers(nqn) {
			hosts = append(hosts, c.HostNQN)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Commands returns how often each command came, over all boots. Those that the box does not know
// count as "unknown".
func (s *Sim) Commands() map[string]int { return s.hw.counts.snapshot() }
