// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// A boot is all that runs between power-on and power-off.
type boot struct {
	cfg      Config
	log      *slog.Logger
	counts   *counts
	machine  *machine
	exports  *exports
	sessions *sessions
	gate     *gate              // of what sessions read and write
	handlers map[string]handler // of the API
	menus    map[string]menu    // of the console
	faults   *faults
	settings *settings
	hostKey  ssh.Signer
	places   chan struct{} // one entry for each command that is served
	since    time.Time
	again    bool // it was a reboot

	ctx    context.Context // ends with the power
	cancel context.CancelFunc
	wg     sync.WaitGroup // of every goroutine but the machine's
}

// hardware is what boots have in common.
type hardware struct {
	cfg      Config
	store    *store
	cert     tls.Certificate
	journal  *journal
	counts   *counts
	faults   *faults
	settings *settings
	hostKey  ssh.Signer
	sessions atomic.Uint64
}

// boot turns the power on, the first time or again. The addresses are those of the configuration.
func (h *hardware) boot(ctx context.Context, a again) (*boot, error) {
	t, err := h.load(a)
	if err != nil {
		return nil, err
	}
	b := &boot{
		again: a.again,
		cfg:   h.cfg, log: h.cfg.Logger, counts: h.counts, since: time.Now(),
		places: make(chan struct{}, h.cfg.Concurrency), gate: newGate(), faults: h.faults, settings: h.settings, hostKey: h.hostKey,
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.exports = newExports(h.cfg, h.store, h.journal, h.faults, b.later)
	p := pool{name: h.cfg.Pool, filesystem: h.cfg.Filesystem, capacity: h.cfg.Capacity, switches: h.cfg.Switches}
	b.machine = newMachine(p, h.store, b.exports, t, h.cfg)
	b.handlers = b.commands()
	b.menus = b.console()
	b.sessions = &sessions{box: b, last: &h.sessions, open: map[connection]struct{}{}}
	go b.machine.run(b.ctx)
	err = b.machine.do(ctx, func() {}) // it has begun the exports
	if err == nil {
		b.comeBack(t)
		err = b.listen(ctx, h.cert)
	}
	if err != nil {
		return nil, errors.Join(err, b.stop())
	}
	return b, nil
}

// listen begins to serve the API and SSH where the configuration says, and notes the addresses.
func (b *boot) listen(ctx context.Context, cert tls.Certificate) error {
	overTLS := b.tlsConfig(cert)
	server, err := b.sshConfig()
	if err != nil {
		return err
	}
	var failed error
	var begin []func() // to accept, when all addresses are noted: who logs in reads them
	for _, l := range []struct {
		what string
		addr *string
		open opener
	}{
		{"the API", &b.cfg.APIAddr, func(ctx context.Context, conn net.Conn, number uint64) connection {
			return newSession(ctx, b, conn, nil, number)
		}},
		{"the API over TLS", &b.cfg.TLSAddr, func(ctx context.Context, conn net.Conn, number uint64) connection {
			return newSession(ctx, b, conn, overTLS, number)
		}},
		{"SSH", &b.cfg.SSHAddr, func(ctx context.Context, conn net.Conn, number uint64) connection {
			return newSSHSession(ctx, b, conn, server, number)
		}},
	} {
		if *l.addr == Off {
			continue
		}
		ln, err := b.cfg.Listen(ctx, "tcp", *l.addr)
		if err != nil {
			err = fmt.Errorf("serve %s: %w", l.what, err)
			b.cancel() // what is open already is closed again
		} else {
			*l.addr = ln.Addr().String()
			begin = append(begin, func() { b.sessions.listen(b.ctx, ln, l.open) })
		}
		failed = errors.Join(failed, err)
	}
	for _, accept := range begin {
		b.wg.Go(accept)
	}
	return failed
}

// later runs f in the machine's loop after a time, unless the power goes off before. It is called from
// the loop.
func (b *boot) later(d time.Duration, f func()) {
	b.wg.Go(func() {
		if err := sleep(b.ctx, d); err == nil {
			_ = b.machine.do(b.ctx, f) // fails only without power
		}
	})
}

// stop turns the power off: every connection ends at once, and what was not carried out is lost.
func (b *boot) stop() error {
	b.cancel()
	<-b.machine.done
	err := b.exports.close()
	b.wg.Wait()
	return err
}
