// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/nvme/target"
	"github.com/rds-csi/rds-csi/nvme/tcp"
)

func TestProbe(t *testing.T) {
	f := newFake()
	addr := f.listen(t)
	found, err := Probe(t.Context(), addr, time.Minute)
	if err != nil || found.String() != addr {
		t.Fatalf("found %v, %v, want %s", found, err, addr)
	}
	if f.count(0x7f, 1) != 0 {
		t.Error("sent a command")
	}
	f.freeze()
	if _, err := Probe(t.Context(), addr, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v, want DeadlineExceeded", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(ctx, addr, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestProbeOfWhatIsNoTarget(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("SSH-2.0-ROSSSH\r\n"))
		_, _ = conn.Read(make([]byte, 128))
		_ = conn.Close()
	}()
	if _, err := Probe(t.Context(), l.Addr().String(), time.Minute); !errors.Is(err, ErrProtocol) {
		t.Errorf("an SSH server: %v, want ErrProtocol", err)
	}
	<-served
	_ = l.Close()
	if _, err := Probe(t.Context(), l.Addr().String(), time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want ECONNREFUSED", err)
	}
}

// TestAdmit: what the kernel answers with EIO is two things.
func TestAdmit(t *testing.T) {
	ended := make(chan target.ControllerInfo, 1)
	b := socketBox(t, target.Config{OnDisconnect: func(i target.ControllerInfo) { ended <- i }})
	cfg := b.config(1)
	if err := Admit(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if i := <-ended; i.HostNQN != cfg.HostNQN {
		t.Errorf("controller of %s, want %s", i.HostNQN, cfg.HostNQN)
	}
	refused := func(cfg Config, want tcp.Status) {
		t.Helper()
		var status *StatusError
		if err := Admit(t.Context(), cfg); !errors.As(err, &status) || status.Code != uint16(want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if err := b.Allow(testSubsystem, []string{}); err != nil {
		t.Fatal(err)
	}
	refused(cfg, tcp.StatusConnectHost)
	cfg.SubsystemNQN += "x"
	refused(cfg, tcp.StatusConnectInvalid)
	cfg.SubsystemNQN = ""
	if err := Admit(t.Context(), cfg); !errors.Is(err, ErrConfig) {
		t.Errorf("no subsystem: %v, want ErrConfig", err)
	}
}
