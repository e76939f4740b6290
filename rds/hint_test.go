// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A mistake is a box that does not do for a reason that a person must mend.
type mistake struct {
	name string
	only string // the one transport over which it can be made; empty: each
	// box returns a Box that meets with the mistake until it is mended.
	box  func(t *testing.T, over string, w *told) (b *Box, mend func())
	call func(context.Context, *Box) error
	kind error
	says []string // of each error
}

// list asks for what needs no more than a session.
func list(ctx context.Context, b *Box) error { _, err := b.List(ctx); return err }

func makeOne(ctx context.Context, b *Box) error { _, err := b.Create(ctx, numbered(1)); return err }

// refusing returns a box that answers a command with a trap until it is mended.
func refusing(cmd string, answer []string) func(*testing.T, string, *told) (*Box, func()) {
	return func(t *testing.T, over string, w *told) (*Box, func()) {
		f := newFakeBox(t, over)
		f.addVolume(nil)
		f.on(on(cmd, func(func() []string) []string { return answer }))
		return f.box(func(cfg *Config) { cfg.Hooks = w.hooks() }), func() { f.on(nil) }
	}
}

// asking returns a box whose password is another's answer until it is mended.
func asking(wrong func() (string, error)) func(*testing.T, string, *told) (*Box, func()) {
	return func(t *testing.T, over string, w *told) (*Box, func()) {
		var mended atomic.Bool
		b := reach(simulate(t, sim.Config{}), over).box(t, func(cfg *Config) {
			cfg.Password, cfg.Hooks = "", w.hooks()
			cfg.ReadPassword = func() (string, error) {
				if mended.Load() {
					return testPassword, nil
				}
				return wrong()
			}
		})
		return b, func() { mended.Store(true) }
	}
}

// elsewhere reaches another box than that whose authority is trusted, until it is mended.
func elsewhere(t *testing.T, _ string, w *told) (*Box, func()) {
	s, other := simulate(t, sim.Config{}), simulate(t, sim.Config{})
	var mended atomic.Bool
	b := newBox(t, s.TLSAddr(), func(cfg *Config) {
		cfg.TLS, cfg.Hooks = &tls.Config{RootCAs: s.Roots()}, w.hooks()
		cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if !mended.Load() {
				address = other.TLSAddr()
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	})
	return b, func() { mended.Store(true) }
}

var mistakes = []mistake{
	{
		name: "wrong password",
		box:  asking(func() (string, error) { return "battery-staple", nil }),
		call: list, kind: actors.ErrUnavailable, says: []string{"--rds-user", "--rds-password-file", "policy"},
	},
	{
		name: "no password file",
		box:  asking(func() (string, error) { return "", errors.New("read --rds-password-file: gone") }),
		call: list, kind: actors.ErrUnavailable, says: []string{"--rds-password-file"},
	},
	{
		name: "a certificate that nobody trusts", only: wireTLS,
		box:  elsewhere,
		call: list, kind: actors.ErrUnavailable, says: []string{"certificate", "--rds-ca-file"},
	},
	{
		name: "no TLS there", only: wireTLS,
		box: func(t *testing.T, _ string, w *told) (*Box, func()) {
			s := simulate(t, sim.Config{})
			var mended atomic.Bool
			b := newBox(t, s.TLSAddr(), func(cfg *Config) {
				cfg.TLS, cfg.Hooks = &tls.Config{RootCAs: s.Roots()}, w.hooks()
				cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					if mended.Load() {
						return (&net.Dialer{}).DialContext(ctx, network, address)
					}
					ours, theirs := net.Pipe()
					go func() { _, _ = ours.Write([]byte("SSH-2.0-ROSSSH\r\n")) }()
					go func() { _, _ = io.Copy(io.Discard, ours) }() // until it is closed
					return theirs, nil
				}
			})
			return b, func() { mended.Store(true) }
		},
		call: list, kind: actors.ErrUnavailable, says: []string{"TLS", "--rds-address", "--rds-plain"},
	},
	{
		name: "no rights to list",
		box:  refusing("/disk/print", trap("not enough permissions (9)")),
		call: list, kind: actors.ErrUnavailable, says: []string{"--rds-user", "read and write"},
	},
	{
		name: "no rights to add",
		box:  refusing("/disk/add", trap("not enough permissions (9)")),
		call: makeOne, kind: actors.ErrUnavailable, says: []string{"--rds-user", "read and write"},
	},
	{
		name: "no rights to set",
		box:  refusing("/disk/set", trap("not enough permissions (9)")),
		call: func(ctx context.Context, b *Box) error { return b.Write(ctx, write(2)) },
		kind: actors.ErrPrecondition, says: []string{"--rds-user", "read and write"},
	},
	{
		name: "no rights to remove files",
		box:  refusing("/file/remove", trap("not enough permissions (9)")),
		call: func(ctx context.Context, b *Box) error { return b.Delete(ctx, testVolume) },
		kind: actors.ErrUnavailable, says: []string{"--rds-user", "ftp"},
	},
	{
		name: "no rose-storage",
		box:  refusing("/disk/add", trap("unknown parameter file-path")),
		call: makeOne, kind: actors.ErrUnavailable, says: []string{"rose-storage"},
	},
	{
		name: "no menu /disk",
		box:  refusing("/disk/print", []string{"!trap", "=category=0", "=message=no such command prefix"}),
		call: list, kind: actors.ErrUnavailable, says: []string{"rose-storage"},
	},
	{
		name: "no pool",
		box: func(t *testing.T, over string, w *told) (*Box, func()) {
			f := newFakeBox(t, over)
			f.change(func() { f.disks[0]["mount-point"] = "raid5" })
			b := f.box(func(cfg *Config) { cfg.Hooks = w.hooks() })
			return b, func() { f.change(func() { f.disks[0]["mount-point"] = "raid10" }) }
		},
		call: makeOne, kind: actors.ErrUnavailable, says: []string{`"raid10"`, testPath, "--volume-path"},
	},
}

// TestMistakes shows that what a person must mend is said, with the setting, and that the box is used
// as soon as it is mended.
func TestMistakes(t *testing.T) {
	for _, tt := range mistakes {
		t.Run(tt.name, func(t *testing.T) {
			for _, over := range transports {
				if tt.only == "" || tt.only == over {
					t.Run(over, func(t *testing.T) { tt.meet(t, over) })
				}
			}
		})
	}
}

// meet makes the mistake over a transport, and mends it.
func (m mistake) meet(t *testing.T, over string) {
	w := newTold()
	b, mend := m.box(t, over, w)
	err := m.call(testContext(t), b)
	if !errors.Is(err, m.kind) {
		t.Fatalf("it is %v, want %v", err, m.kind)
	}
	oneKind(t, err)
	if strings.Contains(err.Error(), "battery-staple") {
		t.Errorf("%v tells the password", err)
	}
	for _, s := range m.says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not name %q", err, s)
		}
	}
	mend()
	w.until(t, func() bool { return len(w.states) > 0 && w.states[len(w.states)-1] })
	for {
		err := m.call(testContext(t), b)
		if err == nil {
			return
		}
		if !errors.Is(err, actors.ErrUnavailable) {
			t.Fatalf("when it is mended: %v", err)
		}
		// The other lane's session may come a little later.
		w.until(t, func() bool { return w.connected() >= 2 })
	}
}

// TestWrongName has a certificate that is valid for another name: a matter of TLS.
func TestWrongName(t *testing.T) {
	s := simulate(t, sim.Config{})
	b := newBox(t, s.TLSAddr(), func(cfg *Config) { cfg.TLS = &tls.Config{RootCAs: s.Roots(), ServerName: "rds.example.org"} })
	err := list(testContext(t), b)
	if !errors.Is(err, actors.ErrUnavailable) || !strings.Contains(err.Error(), "--rds-address") {
		t.Errorf("List = %v, want ErrUnavailable and the address named", err)
	}
}
