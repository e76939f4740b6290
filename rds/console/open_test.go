// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A deafConn never answers that a channel is open, not even when its connection has ended.
type deafConn struct {
	ssh.Conn
	release chan struct{}
}

func (c deafConn) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	<-c.release
	return nil, nil, io.EOF
}

// A command whose channel is never answered ends at its deadline, and so does one whose connection ends
// meanwhile.
func TestOpenIsUnderADeadline(t *testing.T) {
	for name, lose := range map[string]bool{"silence": false, "connection lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer func() { _ = theirs.Close() }()
				release := make(chan struct{})
				defer close(release)
				cfg, err := Config{Address: "rds:22", Username: "csi", Password: testPassword, HostKey: "SHA256:x"}.complete()
				if err != nil {
					t.Fatal(err)
				}
				c := &Client{cfg: cfg, conn: ours, ssh: deafConn{release: release}, donec: make(chan struct{})}
				want := context.DeadlineExceeded
				if lose {
					want = io.ErrUnexpectedEOF
					time.AfterFunc(time.Second, func() { c.fail(want) })
				}
				begin := time.Now()
				_, err = c.Run(t.Context(), ":put x")
				if !errors.Is(err, routeros.ErrNotSent) || !errors.Is(err, want) {
					t.Errorf("Run = %v, want %v before it was sent", err, want)
				}
				if d := time.Since(begin); d > cfg.CommandTimeout || lose && d > time.Second {
					t.Errorf("it took %v", d)
				}
				if c.Err() == nil {
					t.Error("the connection is still used")
				}
			})
		})
	}
}

// What has ended on one side is not written to on the other.
func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	c := &halfConn{Conn: readEOF{ours}}
	go func() { _, _ = io.Copy(io.Discard, theirs) }() // would take it
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("Read = %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after the end = %v", err)
	}
}

// A readEOF has nothing to read.
type readEOF struct{ net.Conn }

func (readEOF) Read([]byte) (int, error) { return 0, io.EOF }
