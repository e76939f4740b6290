// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package box

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/e2e/controlplane"
	"github.com/rds-csi/rds-csi/rds/sim"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// A Config says where a box is. All fields are required.
type Config struct {
	Binary string // rds-sim
	Dir    string // directory of the disks and the logs, which is made
	Host   string // IP address of the loopback range on which nobody else listens
}

// The account on the box.
const (
	Username = "rds-csi"
	Password = "a-box-of-the-tests"
)

const (
	tlsPort     = "8729"
	controlPort = "8730"
)

// disks is the folder of what the box keeps.
const disks = "disks"

// A Box is a simulated box.
type Box struct {
	cfg     Config
	program *controlplane.Component
	client  *http.Client
}

// New returns a box that is off.
func New(cfg Config) (*Box, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the box's directory: %w", err)
	}
	password := filepath.Join(cfg.Dir, "password")
	if err := os.WriteFile(password, []byte(Password), 0o600); err != nil {
		return nil, fmt.Errorf("write the box's password: %w", err)
	}
	b := &Box{cfg: cfg, client: &http.Client{Transport: &http.Transport{}}}
	b.program = controlplane.NewComponent(cfg.Binary, cfg.Dir, "rds-sim",
		"--dir="+filepath.Join(cfg.Dir, disks), "--api=off", "--ssh=off", "--api-tls="+b.Address(), "--nvme-host="+cfg.Host,
		"--control="+net.JoinHostPort(cfg.Host, controlPort), "--user="+Username, "--password-file="+password)
	return b, nil
}

// Address returns where the API over TLS is.
func (b *Box) Address() string { return net.JoinHostPort(b.cfg.Host, tlsPort) }

// Host returns the address of the exports.
func (b *Box) Host() string { return b.cfg.Host }

// Certificate returns the box's certificate, in PEM.
func (b *Box) Certificate() ([]byte, error) {
	return os.ReadFile(filepath.Join(b.cfg.Dir, disks, "tls.crt"))
}

// Start turns the box on, with the disks that it had, and returns when it answers.
func (b *Box) Start(ctx context.Context) error {
	if err := b.program.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := b.get(ctx, "status", nil)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-b.program.Done():
			return b.program.Err()
		case <-ctx.Done():
			return fmt.Errorf("start the box: %w", err)
		}
	}
}

// Stop turns the box off. Its disks stay.
func (b *Box) Stop() error {
	b.client.CloseIdleConnections()
	return b.program.Stop()
}

// Disks returns the disk table.
func (b *Box) Disks(ctx context.Context) (disks []sim.Disk, err error) {
	return disks, b.get(ctx, "disks", &disks)
}

// Disk returns the row of a volume, and what its ledger says. It is actors.ErrNotFound where the box has
// no such row.
func (b *Box) Disk(ctx context.Context, id actors.VolumeID) (sim.Disk, actors.Ledger, error) {
	disks, err := b.Disks(ctx)
	if err != nil {
		return sim.Disk{}, actors.Ledger{}, err
	}
	for _, d := range disks {
		if isImage(d.File, id) {
			l, _, err := actors.ParseLedger(d.Comment)
			return d, l, err
		}
	}
	return sim.Disk{}, actors.Ledger{}, fmt.Errorf("look for %s: %w", id, actors.ErrNotFound)
}

func isImage(file string, id actors.VolumeID) bool {
	return strings.HasSuffix(file, "/"+string(id)+".img")
}

// Content reads what is on a volume's disk at an offset, past the box.
func (b *Box) Content(ctx context.Context, id actors.VolumeID, p []byte, off int64) (err error) {
	d, _, err := b.Disk(ctx, id)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(b.cfg.Dir, disks, "files", d.File))
	if err != nil {
		return fmt.Errorf("read the disk of %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.ReadAt(p, off); err != nil {
		return fmt.Errorf("read the disk of %s: %w", id, err)
	}
	return nil
}

// Files returns the names of the files in the pool.
func (b *Box) Files(ctx context.Context) (files []sim.File, err error) {
	return files, b.get(ctx, "files", &files)
}

// Written returns the last write of a host to a volume, under whatever NQN it was exported, and how many there
// were: all that ended before the question came. A write that is under way is noted when it ends.
func (b *Box) Written(ctx context.Context, id actors.VolumeID, host string) (last time.Time, count int64, err error) {
	j, err := b.Journal(ctx)
	last, count = j.Written(id, host)
	return last, count, err
}

// Began returns the first write of a host to a volume, under whatever NQN it was exported; zero: there was none.
func (b *Box) Began(ctx context.Context, id actors.VolumeID, host string) (first time.Time, err error) {
	j, err := b.Journal(ctx)
	for _, e := range j.of(id, host) {
		if first.IsZero() || e.First.At.Before(first) {
			first = e.First.At
		}
	}
	return first, err
}

// A Journal tells who wrote to the box.
type Journal []sim.JournalEntry

// Journal returns what is noted of all writes that ended before the question came.
func (b *Box) Journal(ctx context.Context) (j Journal, err error) {
	return j, b.get(ctx, "journal", &j)
}

// Written returns the last write of a host to a volume, and how many there were: see Box.Written.
func (j Journal) Written(id actors.VolumeID, host string) (last time.Time, count int64) {
	for _, e := range j.of(id, host) {
		count += e.Count
		if e.Last.At.After(last) {
			last = e.Last.At
		}
	}
	return last, count
}

// of returns what is noted of a host's writes to a volume. What comes in when nothing should is noted with the NQN alone.
func (j Journal) of(id actors.VolumeID, host string) []sim.JournalEntry {
	return slices.DeleteFunc(slices.Clone(j), func(e sim.JournalEntry) bool {
		_, named := actors.NQNPrefix(e.Subsystem, id)
		return e.Host != host || !named && !isImage(e.File, id)
	})
}

// Resize makes the disk of a volume larger, and tells hosts nothing of it.
func (b *Box) Resize(ctx context.Context, id actors.VolumeID, size int64) error {
	d, _, err := b.Disk(ctx, id)
	if err != nil {
		return err
	}
	return b.Do(ctx, "resize", fmt.Sprintf(`{"disk": %q, "size": %d}`, d.Slot, size))
}

// Spoil puts a fault in force and returns its number.
func (b *Box) Spoil(ctx context.Context, f control.Fault) (id int, err error) {
	body, err := json.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("spoil the box: %w", err)
	}
	var answer control.Fault
	err = b.ask(ctx, http.MethodPost, "faults", body, &answer)
	return answer.ID, err
}

// Met returns how many commands have met one of the faults in force.
func (b *Box) Met(ctx context.Context, id int) (hits int, err error) {
	var faults []control.Fault
	err = b.get(ctx, "faults", &faults)
	for _, f := range faults {
		if f.ID == id {
			hits = f.Hits
		}
	}
	return hits, err
}

// MendOne ends one fault and lets go what it holds.
func (b *Box) MendOne(ctx context.Context, id int) error {
	return b.ask(ctx, http.MethodDelete, "faults/"+strconv.Itoa(id), nil, nil)
}

// Hits returns how many commands have met the faults in force.
func (b *Box) Hits(ctx context.Context) (hits int, err error) {
	var faults []control.Fault
	err = b.get(ctx, "faults", &faults)
	for _, f := range faults {
		hits += f.Hits
	}
	return hits, err
}

// Commands returns how often each command came.
func (b *Box) Commands(ctx context.Context) (counts map[string]int, err error) {
	err = b.get(ctx, "commands", &counts)
	return counts, err
}

// Do posts to the control port what is to happen to the box: "freeze", "reboot", "faults" and so on, with a
// body in JSON, which may be empty. See package rds/sim/control.
func (b *Box) Do(ctx context.Context, what, body string) error {
	return b.ask(ctx, http.MethodPost, what, []byte(body), nil)
}

// Mend ends all faults.
func (b *Box) Mend(ctx context.Context) error {
	return b.ask(ctx, http.MethodDelete, "faults", nil, nil)
}

func (b *Box) get(ctx context.Context, what string, answer any) error {
	return b.ask(ctx, http.MethodGet, what, nil, answer)
}

func (b *Box) ask(ctx context.Context, method, what string, body []byte, answer any) error {
	url := "http://" + net.JoinHostPort(b.cfg.Host, controlPort) + "/" + what
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the box about %s: %w", what, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the box about %s: %w", what, err)
	}
	text, err := io.ReadAll(resp.Body)
	switch err = errors.Join(err, resp.Body.Close()); {
	case err != nil:
		return fmt.Errorf("ask the box about %s: %w", what, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("ask the box about %s: %s: %s", what, resp.Status, bytes.TrimSpace(text))
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("ask the box about %s: %w", what, err)
	}
	return nil
}
