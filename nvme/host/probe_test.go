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
)

func TestProbe(t *testing.T) {
	f := newFake()
	addr := f.listen(t)
	if err := Probe(t.Context(), addr, time.Minute); err != nil {
		t.Fatal(err)
	}
	if f.count(0x7f, 1) != 0 {
		t.Error("sent a command")
	}
	f.freeze()
	if err := Probe(t.Context(), addr, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v, want DeadlineExceeded", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Probe(ctx, addr, time.Minute); !errors.Is(err, context.Canceled) {
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
	if err := Probe(t.Context(), l.Addr().String(), time.Minute); !errors.Is(err, ErrProtocol) {
		t.Errorf("an SSH server: %v, want ErrProtocol", err)
	}
	<-served
	_ = l.Close()
	if err := Probe(t.Context(), l.Addr().String(), time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want ECONNREFUSED", err)
	}
}
