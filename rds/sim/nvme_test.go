// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// An initiator is a host of a test.
type initiator struct {
	nqn string
	id  uuid.UUID
}

func newInitiator(name string) initiator {
	id := uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name))
	return initiator{nqn: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), id: id}
}

// connect connects to what is exported under an NQN.
func (i initiator) connect(t *testing.T, s *Sim, nqn string, port int, more ...func(*host.Config)) (*host.Controller, error) {
	t.Helper()
	cfg := host.Config{
		Address: net.JoinHostPort(s.hw.cfg.NVMeHost, strconv.Itoa(port)), SubsystemNQN: nqn, HostNQN: i.nqn, HostID: i.id,
		ReconnectDelay: time.Millisecond, CtrlLossTimeout: -1, HonorDNR: true,
	}
	for _, m := range more {
		m(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	c, err := host.Connect(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// attach is connect that must not fail.
func (i initiator) attach(t *testing.T, s *Sim, nqn string, port int, more ...func(*host.Config)) *host.Controller {
	t.Helper()
	c, err := i.connect(t, s, nqn, port, more...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantStatus checks that a connect was refused with a status.
func wantStatus(t *testing.T, err error, code tcp.Status, dnr bool) {
	t.Helper()
	var status *host.StatusError
	if !errors.As(err, &status) || status.Code != uint16(code) || status.DNR != dnr {
		t.Fatalf("connect: %v, want status %v, do not retry %v", err, code, dnr)
	}
}

// exported adds an exported disk of 1 MiB and returns its .id.
func (c *client) exported(slot, nqn string, port int, words ...string) string {
	c.t.Helper()
	return c.add(slot, append([]string{
		"=file-size=1M", "=nvme-tcp-export=yes", "=nvme-tcp-server-nqn=" + nqn, fmt.Sprintf("=nvme-tcp-server-port=%d", port),
	}, words...)...)
}

// writer writes until its host is cut off, and returns what counts the writes that were answered.
func writer(t *testing.T, c *host.Controller, fill byte) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	first, done := make(chan struct{}), make(chan struct{})
	block := bytes.Repeat([]byte{fill}, 4096)
	go func() {
		defer close(done)
		for {
			if _, err := c.WriteAt(block, n.Load()%256*4096); err != nil {
				return
			}
			if n.Add(1) == 1 {
				close(first)
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	select {
	case <-first:
	case <-done:
		t.Fatal("the host cannot write")
	}
	return &n
}

const nqnA, nqnB = "nqn.2026-01.io.example:a", "nqn.2026-01.io.example:b"

func readFile(t *testing.T, dir, slot string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "files", "raid10", slot+".img"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testExports returns the exports of a box without anything else.
func testExports(t *testing.T, sw Switches, later func(time.Duration, func())) (*exports, *store) {
	t.Helper()
	cfg, err := Config{Dir: t.TempDir(), NVMeHost: LoopbackHost(), Switches: sw}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	st, err := openStore(cfg.Dir, cfg.Pool)
	if err != nil {
		t.Fatal(err)
	}
	e := newExports(cfg, st, newJournal(), newFaults(), later)
	t.Cleanup(func() {
		if err := errors.Join(e.close(), st.close()); err != nil {
			t.Error(err)
		}
	})
	return e, st
}
