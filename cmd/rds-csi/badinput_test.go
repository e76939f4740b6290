// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/rds/sim"
)

const (
	badVolume    = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a04"
	badMade      = "pvc-2f6c7a52-9d0e-4e0b-8f11-3c9d8e7f6a05"
	badPassword  = "an0ther-of-the-box"
	badRDSRights = "read and write"
)

// A setting is something that a person has got wrong.
type setting struct {
	name string
	ways []string                // it can be wrong with; none: all
	box  sim.Switches            // of the box on which it is
	make bool                    // a volume is made before
	bad  sim.Change              // makes it wrong on the box
	good sim.Change              // mends it
	ask  func(*watched) error    // the request that meets with it
	code codes.Code              // of the error
	says []string                // in the error
	also map[string][]string     // the same, by the name of a way
	swap func(*settingBox, bool) // in place of bad and good: makes it wrong, or mends it
}

// A settingBox is a box that may have a setting wrong.
type settingBox struct {
	t     *testing.T
	way   way
	box   *sim.Sim
	other *sim.Sim // nil where nobody asked
	relay *relay
	ca    string // the file of --rds-ca-file
	key   string // the file of --rds-ssh-key-file
	right []byte // the key that the box knows, in PEM

	secrets []string
}

// change changes the box.
func (b *settingBox) change(c sim.Change) {
	b.t.Helper()
	if err := b.box.Change(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
}

// elsewhere lets another box answer at the address, which has another host key and another certificate.
func elsewhere(b *settingBox, wrong bool) {
	target := b.box
	if wrong {
		b.other = startBox(b.t, b.t.TempDir(), "127.0.0.1:0")
		target = b.other
	}
	b.relay.point(b.way.address(target))
}

// otherAuthority has the certificate of another box in the file of --rds-ca-file.
func otherAuthority(b *settingBox, wrong bool) {
	b.t.Helper()
	pem := b.box.Certificate()
	if wrong {
		b.other = startBox(b.t, b.t.TempDir(), "127.0.0.1:0")
		pem = b.other.Certificate()
	}
	if err := os.WriteFile(b.ca, pem, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// otherKey has a key that nobody knows in the file of --rds-ssh-key-file.
func otherKey(b *settingBox, wrong bool) {
	b.t.Helper()
	pem := b.right
	if wrong {
		pem, _ = newKey(b.t)
	}
	b.secrets = append(b.secrets, strings.Split(strings.TrimSpace(string(pem)), "\n")[1:]...)
	if err := os.WriteFile(b.key, pem, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// newKey makes a key, in PEM and as a line of an authorized_keys file.
func newKey(t *testing.T) (private, public []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	known, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(known)
}

func makeBad(w *watched) error { return w.create(w.t.Context(), badVolume) }

func publishMade(w *watched) error { return w.publish(w.t.Context(), badMade, "node-a") }

func deleteMade(w *watched) error {
	_, err := w.controller.DeleteVolume(w.t.Context(), &csipb.DeleteVolumeRequest{VolumeId: badMade})
	return err
}

func capacity(w *watched) error {
	_, err := w.controller.GetCapacity(w.t.Context(), &csipb.GetCapacityRequest{})
	return err
}

var login = map[string][]string{"api": {"policy api"}, "api-tls": {"policy api"}, "ssh": {"policy ssh", "--rds-ssh-key-file"}}

var settings = []setting{
	{
		name: "wrong password", bad: sim.Change{Password: new(badPassword)}, good: sim.Change{Password: new(testPassword)},
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-user", "--rds-password-file"}, also: login,
	},
	{
		name: "no right to log in", bad: sim.Change{Policies: new("read,write")}, good: sim.Change{Policies: new("read,write,api,ssh")},
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-user", "--rds-password-file"}, also: login,
	},
	{
		name: "wrong key", ways: []string{"ssh"}, box: sim.Switches{KeysOnly: true}, swap: otherKey,
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-user", "--rds-ssh-key-file", "policy ssh"},
	},
	{
		name: "wrong host key", ways: []string{"ssh"}, swap: elsewhere,
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-ssh-host-key", "--rds-ssh-known-hosts"},
	},
	{
		name: "wrong certificate", ways: []string{"api-tls"}, swap: elsewhere,
		ask: makeBad, code: codes.Unavailable, says: []string{"certificate", "--rds-ca-file"},
	},
	{
		name: "wrong authority", ways: []string{"api-tls"}, swap: otherAuthority,
		ask: makeBad, code: codes.Unavailable, says: []string{"certificate", "--rds-ca-file"},
	},
	{
		name: "no certificate", ways: []string{"api-tls"},
		bad: sim.Change{NoCertificate: new(true)}, good: sim.Change{NoCertificate: new(false)},
		ask: makeBad, code: codes.Unavailable, says: []string{"certificate", "api-ssl"},
	},
	{
		name: "no rose-storage", bad: sim.Change{Storage: new(sim.Missing)}, good: sim.Change{Storage: new(sim.Installed)},
		ask: makeBad, code: codes.Unavailable, says: []string{"rose-storage"},
	},
	{
		name: "no rose-storage, publish", make: true, bad: sim.Change{Storage: new(sim.Disabled)}, good: sim.Change{Storage: new(sim.Installed)},
		ask: publishMade, code: codes.Unavailable, says: []string{"rose-storage"},
	},
	{
		name: "no rose-storage, with a pool", box: sim.Switches{PlainPool: true},
		bad: sim.Change{Storage: new(sim.Missing)}, good: sim.Change{Storage: new(sim.Installed)},
		ask: makeBad, code: codes.Unavailable, says: []string{"rose-storage", "--rds-address"},
	},
	{
		name: "no menu /disk", box: sim.Switches{NoDiskMenu: true},
		bad: sim.Change{Storage: new(sim.Missing)}, good: sim.Change{Storage: new(sim.Installed)},
		ask: makeBad, code: codes.Unavailable, says: []string{"rose-storage", "--rds-address"},
	},
	{
		name: "no right to write, create", bad: sim.Change{Policies: new("read,api,ssh")}, good: sim.Change{Policies: new("read,write,api,ssh")},
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-user", badRDSRights},
	},
	{
		name: "no right to write, publish", make: true, bad: sim.Change{Policies: new("read,api,ssh")}, good: sim.Change{Policies: new("read,write,api,ssh")},
		ask: publishMade, code: codes.FailedPrecondition, says: []string{"--rds-user", badRDSRights},
	},
	{
		name: "no right to write, delete", make: true, bad: sim.Change{Policies: new("read,api,ssh")}, good: sim.Change{Policies: new("read,write,api,ssh")},
		ask: deleteMade, code: codes.Unavailable, says: []string{"--rds-user", badRDSRights},
	},
	{
		name: "no right to remove files", make: true, box: sim.Switches{FilesNeedFTP: true},
		bad: sim.Change{Policies: new("read,write,api,ssh")}, good: sim.Change{Policies: new("read,write,ftp,api,ssh")},
		ask: deleteMade, code: codes.Unavailable, says: []string{"--rds-user", "ftp"},
	},
	{
		name: "no right to read", bad: sim.Change{Policies: new("write,api,ssh")}, good: sim.Change{Policies: new("read,write,api,ssh")},
		ask: makeBad, code: codes.Unavailable, says: []string{"--rds-user", badRDSRights},
	},
	{
		name: "no pool, create", bad: sim.Change{PoolMissing: new(true)}, good: sim.Change{PoolMissing: new(false)},
		ask: makeBad, code: codes.Unavailable, says: []string{`"raid10"`, "/raid10", "--volume-path"},
	},
	{
		name: "no pool, capacity", bad: sim.Change{PoolMissing: new(true)}, good: sim.Change{PoolMissing: new(false)},
		ask: capacity, code: codes.Unavailable, says: []string{`"raid10"`, "/raid10", "--volume-path"},
	},
	{
		name: "no pool, delete", make: true, bad: sim.Change{PoolMissing: new(true)}, good: sim.Change{PoolMissing: new(false)},
		ask: deleteMade, code: codes.Unavailable, says: []string{`"raid10"`, "/raid10", "--volume-path"},
	},
	{
		name: "failed pool", bad: sim.Change{PoolState: new("failed")}, good: sim.Change{PoolState: new("clean, degraded")},
		ask: makeBad, code: codes.Unavailable, says: []string{`"raid10"`, `"failed"`},
	},
}

// TestBadInput has each setting wrong in turn, over each transport. The error of a request names what to
// change; the process stays up; and the same request succeeds as soon as it is mended. No secret is told
// meanwhile.
func TestBadInput(t *testing.T) {
	for _, tt := range settings {
		for _, way := range ways {
			if len(tt.ways) > 0 && !slices.Contains(tt.ways, way.name) {
				continue
			}
			t.Run(fmt.Sprintf("%s over %s", tt.name, way.name), func(t *testing.T) {
				t.Parallel()
				tt.run(t, way)
			})
		}
	}
}

// TestUnknownVolumePath has a StorageClass that names a directory which the controller does not know.
func TestUnknownVolumePath(t *testing.T) {
	box := startBox(t, t.TempDir(), "127.0.0.1:0")
	w := watch(t, box.APIAddr(), "--rds-plain")
	w.awaitQuiet(t)
	_, err := w.controller.CreateVolume(t.Context(), &csipb.CreateVolumeRequest{
		Name: badVolume, CapacityRange: &csipb.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csipb.VolumeCapability{sharedBlock()}, Parameters: map[string]string{"volumePath": "/raid5/vms"},
	})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "/raid5/vms") || !strings.Contains(err.Error(), "--volume-path") {
		t.Errorf("CreateVolume = %v, want InvalidArgument, the directory and --volume-path named", err)
	}
	w.alive()
	if err := insist(t, func(ctx context.Context) error { return w.create(ctx, badVolume) }); err != nil {
		t.Error(err)
	}
}

func (tt setting) run(t *testing.T, way way) {
	b, flags := tt.start(t, way)
	if !tt.make {
		tt.spoil(b)
	}
	w := watch(t, b.relay.addr, flags...)
	if tt.make {
		if err := insist(t, func(ctx context.Context) error { return w.create(ctx, badMade) }); err != nil {
			t.Fatal(err)
		}
		tt.spoil(b)
	}
	tt.isSaid(w, way)
	w.alive()
	if tt.swap != nil {
		tt.swap(b, false)
	} else {
		b.change(tt.good)
	}
	tt.untilMended(w)
	w.alive()
	w.tellsNo(append(b.secrets, testPassword, badPassword)...)
}

// start starts a box that has all of it right, and returns the flags of a controller that has, too.
func (tt setting) start(t *testing.T, way way) (*settingBox, []string) {
	dir := t.TempDir()
	b := &settingBox{t: t, way: way, ca: filepath.Join(dir, "ca.crt"), key: filepath.Join(dir, "key")}
	var known []byte
	b.right, known = newKey(t)
	b.box = startSuchBox(t, t.TempDir(), "127.0.0.1:0", sim.Config{Switches: tt.box, AuthorizedKeys: known})
	b.relay = startRelay(t, way.address(b.box))
	otherAuthority(b, false)
	otherKey(b, false)
	flags := way.flags(b.box)
	switch {
	case way.name == "api-tls":
		flags = []string{"--rds-ca-file=" + b.ca}
	case tt.box.KeysOnly:
		flags = append(flags, "--rds-ssh-key-file="+b.key)
	}
	return b, flags
}

// spoil gets the setting wrong.
func (tt setting) spoil(b *settingBox) {
	b.t.Helper()
	if tt.swap != nil {
		tt.swap(b, true)
		return
	}
	b.change(tt.bad)
}

// isSaid checks what a request meets with.
func (tt setting) isSaid(w *watched, way way) {
	w.t.Helper()
	var err error
	_ = insist(w.t, func(context.Context) error {
		err = tt.ask(w)
		if err != nil && strings.Contains(err.Error(), "an earlier process") {
			return err // at the start, before it matters what is wrong
		}
		return nil
	})
	_, _ = fmt.Fprintf(&w.errors, "%+v\n", err) // a Builder does not fail
	if status.Code(err) != tt.code {
		w.t.Errorf("the error is %v, want code %v", err, tt.code)
	}
	for _, s := range append(tt.says, tt.also[way.name]...) {
		if err != nil && !strings.Contains(err.Error(), s) {
			w.t.Errorf("%q does not say %q", err, s)
		}
	}
}

// untilMended repeats the request, as a sidecar does, until it succeeds.
func (tt setting) untilMended(w *watched) {
	w.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for {
		err := tt.ask(w)
		if err == nil {
			return
		}
		_, _ = fmt.Fprintf(&w.errors, "%+v\n", err)
		if c := status.Code(err); c != codes.Unavailable && c != tt.code {
			w.t.Fatalf("when it is mended: %v", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			w.t.Fatalf("when it is mended: still %v", err)
		}
	}
}
