// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package routeros

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPassword = "hunter2-secret"

// A peer is the router's side of one connection, as a test scripts it.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *Reader
}

// read returns the words of the next command and its tag.
func (p *peer) read() (words []string, tag string) {
	words, err := p.r.ReadSentence()
	if err != nil {
		return nil, ""
	}
	for i, w := range words {
		if strings.HasPrefix(w, ".tag=") {
			return slices.Delete(words, i, i+1), w
		}
	}
	return words, ""
}

// want reads the next command, which must be this one, and returns its tag.
func (p *peer) want(words ...string) (tag string) {
	p.t.Helper()
	got, tag := p.read()
	if !slices.Equal(got, words) {
		p.t.Errorf("command = %q, want %q", got, words)
	}
	return tag
}

// send writes a reply.
func (p *peer) send(words ...string) {
	// A client that has gone is the test's business, not the script's.
	_, _ = p.conn.Write(AppendSentence(nil, words...))
}

// login answers the login.
func (p *peer) login() {
	p.t.Helper()
	tag := p.want("/login", "=name=admin", "=password="+testPassword)
	p.send("!done", tag)
}

// drain reads until the client has gone.
func (p *peer) drain() {
	for {
		if words, _ := p.read(); words == nil {
			return
		}
	}
}

// serve runs script for the one connection that is made to the returned address, and waits for its
// end when the test ends.
func serve(t *testing.T, script func(*peer)) Config {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		script(&peer{t: t, conn: conn, r: NewReader(conn)})
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return Config{Address: ln.Addr().String(), Username: "admin", Password: testPassword}
}

// dial connects to a script that begins after the login.
func dial(t *testing.T, script func(*peer)) *Client {
	t.Helper()
	return dialConfig(t, serve(t, func(p *peer) {
		p.login()
		script(p)
	}))
}

func dialConfig(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := Dial(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// testContext bounds a test that hangs; no test depends on its length.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pipe connects a script over a synchronous pipe: a write returns when the other side has read it
// all.
func pipe(t *testing.T, script func(*peer)) (cfg Config) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = theirs.Close() }()
		p := &peer{t: t, conn: theirs, r: NewReader(theirs)}
		p.login()
		script(p)
	}()
	t.Cleanup(func() { <-done })
	return Config{
		Address: "router", Username: "admin", Password: testPassword,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
	}
}
