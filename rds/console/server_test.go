// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPassword = "hunter2-secret"

// A box is an SSH server whose console a test scripts.
type box struct {
	t    *testing.T
	addr string
	key  ssh.Signer // of the host
	// answer is called for each exec request, with its line.
	answer func(e *execution)

	running atomic.Int32 // commands under way
	mu      sync.Mutex
	most    int32 // of them at a time, over all connections
	lines   []string
}

// An execution is an exec request as a test answers it.
type execution struct {
	*box
	line string
	ch   ssh.Channel
	conn net.Conn
	quit chan struct{} // closed when the channel or the connection ends
}

// say prints lines as the console does, with N in place of the script's nonce.
func (e *execution) say(lines ...string) {
	e.write(printed(0, lines...))
}

func (e *execution) write(text string) {
	_, _ = e.ch.Write([]byte(strings.ReplaceAll(text, testNonce, nonceOf(e.line)))) // a client that has gone is the test's business
}

func (e *execution) exit() {
	_, _ = e.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
}

var nonceForm = regexp.MustCompile(`@([0-9a-f]{8}):begin`)

func nonceOf(line string) string {
	if m := nonceForm.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return testNonce
}

func rawEd25519(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rawRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rawECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t *testing.T) ssh.Signer { t.Helper(); return signer(t, rawEd25519(t)) }

func rsaKey(t *testing.T, bits int) ssh.Signer { t.Helper(); return signer(t, rawRSA(t, bits)) }

func ecdsaKey(t *testing.T) ssh.Signer { t.Helper(); return signer(t, rawECDSA(t)) }

func signer(t *testing.T, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newBox starts a box that takes testPassword, unless change has other plans.
func newBox(t *testing.T, answer func(*execution), change ...func(*ssh.ServerConfig)) *box {
	t.Helper()
	b := &box{t: t, key: ed25519Key(t), answer: answer}
	cfg := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != testPassword {
				return nil, errors.New("wrong password")
			}
			return nil, nil
		},
		BannerCallback: func(ssh.ConnMetadata) string { return "RouterOS, no unauthorized use\r\n" },
	}
	for _, f := range change {
		f(cfg)
	}
	cfg.AddHostKey(b.key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	var loops sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	loops.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			loops.Go(func() { b.serve(conn, cfg) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		loops.Wait()
	})
	return b
}

func (b *box) serve(conn net.Conn, cfg *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
	peer, chans, reqs, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { ssh.DiscardRequests(reqs) })
	for nc := range chans {
		ch, requests, err := nc.Accept()
		if err != nil {
			break
		}
		loops.Go(func() { b.session(conn, ch, requests) })
	}
	_ = peer.Wait()
}

func (b *box) session(conn net.Conn, ch ssh.Channel, requests <-chan *ssh.Request) {
	var loops sync.WaitGroup
	defer loops.Wait()
	quit := make(chan struct{})
	defer close(quit)
	for r := range requests {
		if r.Type != "exec" || b.answer == nil {
			_ = r.Reply(false, nil)
			_ = ch.Close()
			continue
		}
		var exec struct{ Command string }
		if err := ssh.Unmarshal(r.Payload, &exec); err != nil {
			b.t.Error(err)
		}
		b.mu.Lock()
		b.lines = append(b.lines, exec.Command)
		b.mu.Unlock()
		_ = r.Reply(true, nil)
		loops.Go(func() {
			n := b.running.Add(1)
			b.mu.Lock()
			b.most = max(b.most, n)
			b.mu.Unlock()
			b.answer(&execution{box: b, line: exec.Command, ch: ch, conn: conn, quit: quit})
			b.running.Add(-1)
			_ = ch.Close()
		})
	}
}

// sent returns the lines that were executed.
func (b *box) sent() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.lines...)
}

// config is one that the box takes.
func (b *box) config() Config {
	return Config{
		Address: b.addr, Username: "csi", Password: testPassword, HostKey: authorized(b.key.PublicKey()),
		DialTimeout: 20 * time.Second, CommandTimeout: 20 * time.Second,
	}
}

func authorized(key ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(key)) }

// dial returns a client of the box.
func (b *box) dial(change ...func(*Config)) *Client {
	b.t.Helper()
	cfg := b.config()
	for _, f := range change {
		f(&cfg)
	}
	c, err := Dial(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// whole answers a script of one statement in full.
func whole(lines ...string) func(*execution) {
	return func(e *execution) {
		e.say(append(append([]string{ruler(testNonce)}, lines...), ending(testNonce, 1))...)
		e.exit()
	}
}
