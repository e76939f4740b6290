// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

const testPassword = "correct-horse"

// hang is when a test gives up on an answer. Nothing is measured by it.
const hang = 30 * time.Second

// start starts a box on a directory of its own, unless the configuration names one.
func start(t *testing.T, cfg Config) *Sim {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Password == "" {
		cfg.Password = testPassword
	}
	// A box that reboots comes back on its ports. At an address of its own nobody else takes them
	// meanwhile, not even as the source of a connection.
	for _, addr := range []*string{&cfg.APIAddr, &cfg.TLSAddr} {
		if *addr == "" {
			*addr = LoopbackHost() + ":0"
		}
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A client is one API connection of a test, which sees every sentence.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *routeros.Reader
	tag  int
}

// dial connects without logging in.
func dial(t *testing.T, s *Sim) *client {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.APIAddr())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, r: routeros.NewReader(conn)}
}

// login connects and logs in.
func login(t *testing.T, s *Sim) *client {
	t.Helper()
	c := dial(t, s)
	c.send("/login", "=name=admin", "=password="+testPassword)
	c.want("!done")
	return c
}

// dialTLS connects over TLS and logs in.
func dialTLS(t *testing.T, s *Sim) *client {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.Roots(), MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(t.Context(), "tcp", s.TLSAddr())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.send("/login", "=name=admin", "=password="+testPassword)
	c.want("!done")
	return c
}

func (c *client) send(words ...string) {
	c.t.Helper()
	if _, err := c.conn.Write(routeros.AppendSentence(nil, words...)); err != nil {
		c.t.Fatalf("send %q: %v", words, err)
	}
}

func (c *client) read() []string {
	c.t.Helper()
	words, err := c.r.ReadSentence()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return words
}

// want reads one sentence and compares it.
func (c *client) want(words ...string) {
	c.t.Helper()
	if got := c.read(); !slices.Equal(got, words) {
		c.t.Fatalf("answer is %q, want %q", got, words)
	}
}

// wantClosed checks that the box ends the connection without another sentence.
func (c *client) wantClosed() {
	c.t.Helper()
	if words, err := c.r.ReadSentence(); err == nil {
		c.t.Fatalf("answer is %q, want the end of the connection", words)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection does not end")
	}
}

// A row is what a !re or a !done holds.
type row map[string]string

// run sends a command and returns its rows and the attributes of its !done. A trap is the error.
func (c *client) run(words ...string) (rows []row, done row, err error) {
	c.t.Helper()
	c.tag++
	tag := fmt.Sprintf(".tag=%d", c.tag)
	c.send(append(words, tag)...)
	for {
		words := c.read()
		if len(words) < 2 || words[1] != tag {
			c.t.Fatalf("answer is %q, want one with %s", words, tag)
		}
		attrs := row{}
		for _, w := range words[2:] {
			name, value, ok := strings.Cut(strings.TrimPrefix(w, "="), "=")
			if !ok || w[0] != '=' {
				c.t.Fatalf("answer %q holds %q", words, w)
			}
			attrs[name] = value
		}
		switch words[0] {
		case "!re":
			rows = append(rows, attrs)
		case "!empty":
		case "!trap":
			err = fmt.Errorf("%s", attrs["message"])
		case "!done":
			return rows, attrs, err
		default:
			c.t.Fatalf("answer is %q", words)
		}
	}
}

// must is run of a command that must not fail.
func (c *client) must(words ...string) ([]row, row) {
	c.t.Helper()
	rows, done, err := c.run(words...)
	if err != nil {
		c.t.Fatalf("%q: %v", words, err)
	}
	return rows, done
}

// refused is run of a command that must be refused with a message that begins like this.
func (c *client) refused(message string, words ...string) {
	c.t.Helper()
	if _, _, err := c.run(words...); err == nil || !strings.HasPrefix(err.Error(), message) {
		c.t.Fatalf("%q: %v, want trap %q", words, err, message)
	}
}

// add adds a disk of 1 GiB, unless other words say otherwise, and returns its .id.
func (c *client) add(slot string, words ...string) string {
	c.t.Helper()
	_, done := c.must(addWords(slot, words...)...)
	return done["ret"]
}

func addWords(slot string, words ...string) []string {
	return append([]string{"/disk/add", "=type=file", "=slot=" + slot, "=file-path=/raid10/" + slot + ".img", "=file-size=1G", "=mount-filesystem=no"}, words...)
}

// disk returns the one row with a slot.
func (c *client) disk(slot string) row {
	c.t.Helper()
	rows, _ := c.must("/disk/print", "?slot="+slot)
	if len(rows) != 1 {
		c.t.Fatalf("%d rows have slot %s, want 1", len(rows), slot)
	}
	return rows[0]
}
