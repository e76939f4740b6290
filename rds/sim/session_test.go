// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

func TestPrint(t *testing.T) {
	c := login(t, start(t, Config{}))
	c.add("vm-1")
	c.add("vm-2", "=comment=x")
	c.send("/disk/print", "?type=file", "=.proplist=slot,.id,none")
	c.want("!re", "=.id=*2", "=slot=vm-1")
	c.want("!re", "=.id=*3", "=slot=vm-2")
	c.want("!done")
	c.send("/disk/print", "?comment", "=.proplist=slot", ".tag=a b")
	c.want("!re", ".tag=a b", "=slot=vm-2")
	c.want("!done", ".tag=a b")
	c.send("/disk/print", "?slot=none")
	c.want("!empty")
	c.want("!done")
	c.send("/disk/print", "=count-only=", "?type=file")
	c.want("!done", "=ret=2")
	c.send("/disk/print", "?#&")
	c.want("!trap", "=category=1", "=message=invalid query")
	c.want("!done")
	c.refused("unknown parameter", "/disk/print", "=colour=red")
}

func TestSystem(t *testing.T) {
	s := start(t, Config{})
	rows, _ := login(t, s).must("/system/resource/print")
	if len(rows) != 1 || rows[0]["version"] != "7.20.4 (stable)" || rows[0]["board-name"] != "RDS2216" || rows[0]["uptime"] == "" {
		t.Errorf("resources are %v", rows)
	}
	for d, want := range map[time.Duration]string{
		0:                        "0s",
		59 * time.Second:         "59s",
		time.Hour:                "1h",
		25*time.Hour + 61e9:      "1d1h1m1s",
		15*24*time.Hour + 3500e6: "2w1d3s",
	} {
		if got := uptime(d); got != want {
			t.Errorf("uptime(%v) = %s, want %s", d, got, want)
		}
	}
}

// TestTraps holds the answers to commands that cannot be carried out: the connection stays.
func TestTraps(t *testing.T) {
	c := login(t, start(t, Config{}))
	c.add("vm-1")
	for _, tt := range []struct{ words, trap []string }{
		{[]string{"/disk/frobnicate"}, []string{"=message=no such command"}},
		{[]string{"disk"}, []string{"=message=no such command"}},
		{[]string{"/disk/print", "slot=x"}, []string{"=message=unknown parameter"}},
		{[]string{"/disk/remove", "=.id=*9"}, []string{"=category=0", "=message=no such item"}},
		{[]string{"/disk/remove", "=.id=[find]"}, []string{"=category=0", "=message=no such item"}},
		{[]string{"/disk/remove", "=.id=*2", "=force="}, []string{"=message=unknown parameter"}},
		{[]string{"/disk/add", "=slot=x"}, []string{"=category=1", "=message=missing =type="}},
		{[]string{"/disk/add", "=type=file"}, []string{"=category=1", "=message=missing =file-path="}},
		{[]string{"/disk/add", "=type=file", "=file-path=/raid10/x"}, []string{"=category=1", "=message=missing =file-size="}},
		{[]string{"/disk/add", "=type=banana"}, []string{"=category=1", "=message=input does not match any value of type"}},
		{[]string{"/disk/add", "=type=tmpfs"}, []string{"=message=failure: disks of this type are not in the simulated box"}},
		{[]string{"/cancel", "=tag=none"}, []string{"=message=no such command"}},
		{[]string{"/disk/listen", "=x="}, []string{"=message=unknown parameter"}},
	} {
		c.send(append(tt.words, ".tag=7")...)
		c.want(append([]string{"!trap", ".tag=7"}, tt.trap...)...)
		c.want("!done", ".tag=7")
	}
	c.send("/quit")
	c.want("!fatal", "session terminated on request")
	c.wantClosed()
}

func TestListen(t *testing.T) {
	s := start(t, Config{})
	c, other := login(t, s), login(t, s)
	c.send("/disk/listen", "=.proplist=.id,slot,comment", ".tag=l")
	c.send("/disk/listen", ".tag=2")
	c.send("/cancel", "=tag=2", ".tag=3")
	c.unordered([]string{"!trap", ".tag=2", "=category=2", "=message=interrupted"}, []string{"!done", ".tag=2"}, []string{"!done", ".tag=3"})
	id := other.add("vm-1")
	c.want("!re", ".tag=l", "=.id="+id, "=slot=vm-1")
	other.must("/disk/set", "=.id="+id, "=comment=x")
	c.want("!re", ".tag=l", "=.id="+id, "=slot=vm-1", "=comment=x")
	other.must("/disk/remove", "=.id="+id)
	c.want("!re", ".tag=l", "=.id="+id, "=.dead=yes")
	c.send("/cancel")
	c.unordered([]string{"!trap", ".tag=l", "=category=2", "=message=interrupted"}, []string{"!done", ".tag=l"}, []string{"!done"})
	watchers := s.boot().machine.watchers
	if err := s.Close(); err != nil || len(watchers.set) > 0 {
		t.Errorf("%v, and %d listens were left", err, len(watchers.set))
	}
}

// unordered reads as many sentences and compares them in any order.
func (c *client) unordered(want ...[]string) {
	c.t.Helper()
	var got []string
	for range want {
		got = append(got, fmt.Sprintf("%q", c.read()))
	}
	for _, w := range want {
		if !slices.Contains(got, fmt.Sprintf("%q", w)) {
			c.t.Fatalf("answers are %s, want %q", got, want)
		}
	}
}

// TestSlowListener shows that changes nobody reads cost no more than the last state of each row.
func TestSlowListener(t *testing.T) {
	ws := newWatchers()
	w, stop := ws.add()
	defer stop()
	for i := range 1000 {
		ws.tell([]change{{next: disk{ID: diskID(2 + i%2), Comment: fmt.Sprint(i)}}})
	}
	ws.tell([]change{{old: disk{ID: 3}}})
	want := []change{{old: disk{ID: 2}, next: disk{ID: 2, Comment: "998"}}, {old: disk{ID: 3}}}
	if got := w.take(); !slices.Equal(got, want) {
		t.Errorf("changes are %v, want %v", got, want)
	}
	if got := w.take(); got != nil {
		t.Errorf("second take returns %v", got)
	}
}

func TestMaxSessions(t *testing.T) {
	s := start(t, Config{MaxSessions: 2})
	first, _ := login(t, s), login(t, s)
	dial(t, s).wantClosed()
	first.send("/quit")
	first.want("!fatal", "session terminated on request")
	first.wantClosed()
	login(t, s).must("/disk/print")
}

// TestGarbage shows that what is no sentence ends its own connection alone.
func TestGarbage(t *testing.T) {
	s := start(t, Config{})
	good := login(t, s)
	for name, garbage := range map[string][]byte{
		"reserved byte": {0xff, 0xff, 0xff},
		"huge word":     {0xf0, 0xff, 0xff, 0xff, 0xff},
		"a web browser": append([]byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xfe}, 100)...),
		"huge sentence": bytes.Repeat(append([]byte{0xC0 | 0x0F, 0xFF, 0xFF}, make([]byte, 0x0FFFFF)...), 5),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s)
			_, _ = c.conn.Write(garbage) // the box may close before all is written
			c.wantClosed()
			authed := login(t, s)
			_, _ = authed.conn.Write(garbage)
			authed.wantClosed()
		})
	}
	good.must("/disk/print")
}

// TestTooManyCommands shows that one connection can have only so many commands under way.
func TestTooManyCommands(t *testing.T) {
	c := login(t, start(t, Config{}))
	for i := range maxCommands {
		c.send("/disk/listen", fmt.Sprintf(".tag=%d", i))
	}
	c.send("/disk/print", ".tag=p")
	c.want("!trap", ".tag=p", "=category=5", "=message=too many commands")
	c.want("!done", ".tag=p")
}

// pipe runs a session of a box without disks over a connection in memory, in the time of the test's
// bubble. ended is closed when the session has ended.
func pipe(t *testing.T, rows int) (b *boot, c net.Conn, ended chan struct{}) {
	t.Helper()
	b = &boot{cfg: Config{Username: "admin"}, log: slog.New(slog.DiscardHandler), counts: newCounts(), faults: newFaults(), settings: newSettings(Config{}), gate: newGate(), places: make(chan struct{}, 8)}
	b.cfg.Fault = func(Command) Fault { return Fault{} }
	b.handlers = map[string]handler{"/print": {run: func(context.Context, Command) (reply, error) {
		return reply{rows: slices.Repeat([][]field{{{"name", strings.Repeat("x", 1000)}}}, rows)}, nil
	}}}
	var theirs net.Conn
	c, theirs = net.Pipe()
	t.Cleanup(func() { _ = c.Close() })
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		newSession(t.Context(), b, theirs, nil, 1).run(func() {})
		b.wg.Wait()
	}()
	return b, c, ended
}

// TestLoginTimeout shows that a connection must log in within its time, and may be silent afterwards.
func TestLoginTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, ended := pipe(t, 0)
		<-ended
		if took := time.Since(began); took != loginTimeout {
			t.Errorf("a connection without a login ended after %v, want %v", took, loginTimeout)
		}
		_, c, ended := pipe(t, 0)
		if _, err := c.Write(routeros.AppendSentence(nil, "/login", "=name=admin", "=password=")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len("\x05!done\x00"))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			t.Error("a silent session ended")
		case <-time.After(time.Hour):
		}
	})
}

// TestClientThatDoesNotRead shows that answers nobody reads end the connection, and hold no place of
// the box meanwhile.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, ended := pipe(t, 1000)
		began := time.Now()
		for _, words := range [][]string{{"/login", "=name=admin", "=password="}, {"/print"}, {"/print"}} {
			if _, err := c.Write(routeros.AppendSentence(nil, words...)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(b.places); n > 0 {
			t.Errorf("%d places of the box are held", n)
		}
		<-ended
		if took := time.Since(began); took != writeTimeout {
			t.Errorf("the connection ended after %v, want %v", took, writeTimeout)
		}
	})
}

// TestNoSecretInLog shows that neither passwords nor arguments are logged, at any level.
func TestNoSecretInLog(t *testing.T) {
	var log buffer
	s := start(t, Config{Fault: func(c Command) Fault {
		if c.Name == "/login" && len(c.Args) > 0 {
			t.Errorf("the fault hook is shown %v", c.Args)
		}
		return Fault{}
	}, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	bad := dial(t, s)
	bad.send("/login", "=name=admin", "=password=wrong-secret")
	bad.want("!trap", "=message=invalid user name or password (6)")
	bad.want("!done")
	c := login(t, s)
	c.add("vm-1", "=nvme-tcp-server-password=disk-secret", "=comment=private-remark")
	c.refused("unknown parameter", "/disk/set", "=.id=*2", "=other-secret=x")
	c.send("/other-secret", "=other-secret=x")
	c.want("!trap", "=message=no such command")
	c.want("!done")
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	for _, secret := range []string{testPassword, "wrong-secret", "disk-secret", "other-secret", "private-remark"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %s:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "API login failed") {
		t.Errorf("the log does not tell of the failed login:\n%s", text)
	}
}

// A buffer is for many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
