// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// TestRules holds which commands meet a fault.
func TestRules(t *testing.T) {
	set := func(transport string, args ...Arg) Command {
		return Command{Name: "/disk/set", Transport: transport, Args: args}
	}
	a, b := Arg{"numbers", "a"}, Arg{"comment", "x1"}
	write := Command{Name: "write-zeroes", Transport: "nvme", Args: []Arg{{"subsystem", "nqn.2026-01.io.example:vm-1.5"}, {"host", "nqn.a"}}}
	for _, tt := range []struct {
		rule Rule
		c    Command
		want bool
	}{
		{Rule{}, set("api"), true},
		{Rule{Command: "/disk/set"}, set("ssh"), true},
		{Rule{Command: "/disk/*"}, set("api"), true},
		{Rule{Command: "/file/*"}, set("api"), false},
		{Rule{Transport: "ssh"}, set("api"), false},
		{Rule{Transport: "ssh"}, set("ssh"), true},
		{Rule{Args: map[string]string{"numbers": "a"}}, set("api", a), true},
		{Rule{Args: map[string]string{"numbers": "a"}}, set("api", Arg{".id", "a"}), true},
		{Rule{Args: map[string]string{"numbers": "a", "comment": "x?"}}, set("api", a, b), true},
		{Rule{Args: map[string]string{"comment": "y*"}}, set("api", a, b), false},
		{Rule{Args: map[string]string{"comment": "*"}}, set("api", a), false},
		{Rule{}, set("nvme"), false},
		{Rule{Transport: "nvme"}, set("api"), false},
		{Rule{Transport: "nvme", Command: "write*", Args: map[string]string{"subsystem": "*:vm-1.*"}}, write, true},
		{Rule{Transport: "nvme", Command: "write"}, write, false},
		{Rule{Transport: "nvme", Args: map[string]string{"host": "nqn.other"}}, write, false},
	} {
		if got := tt.rule.matches(tt.c); got != tt.want {
			t.Errorf("%+v matches %+v: %v", tt.rule, tt.c, got)
		}
	}
	s := start(t, Config{})
	for _, bad := range []Rule{
		{Command: "["},
		{Args: map[string]string{"x": "["}},
		{Transport: "nvme", Fault: Fault{Trap: "no"}},
		{Transport: "nvme", Fault: Fault{Size: -1}},
		{Fault: Fault{Blank: true}},
	} {
		if _, err := s.Inject(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	id, err := s.Inject(Rule{Command: "/disk/set", Skip: 1, Times: 2, Fault: Fault{Trap: "no"}})
	if err != nil {
		t.Fatal(err)
	}
	c := login(t, s)
	c.add("vm-1")
	for i, refused := range []bool{false, true, true, false} {
		if _, _, err := c.run("/disk/set", "=numbers=vm-1"); (err != nil) != refused {
			t.Errorf("command %d: %v", i, err)
		}
	}
	if got := s.Faults(); len(got) != 1 || got[0].ID != id || got[0].Hits != 2 {
		t.Errorf("faults are %+v", got)
	}
	if !s.ClearFault(id) || s.ClearFault(id) || len(s.Faults()) != 0 {
		t.Errorf("cleared faults are %+v", s.Faults())
	}
}

// TestRuleFreeze shows that a rule holds commands until it is cleared.
func TestRuleFreeze(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm-1")
	if _, err := s.Inject(Rule{Command: "/disk/set", Freeze: true}); err != nil {
		t.Fatal(err)
	}
	c.send("/disk/set", "=numbers=vm-1", "=comment=x", ".tag=1")
	c.must("/disk/print")
	if got := s.Disks()[0].Comment; got != "" {
		t.Errorf("comment is %q", got)
	}
	s.ClearFaults()
	c.want("!done", ".tag=1")
	if got := s.Disks()[0].Comment; got != "x" {
		t.Errorf("comment is %q", got)
	}
}

// TestFaultsOverSSH holds what each fault does to a script, its connection and the box. The script
// changes two disks.
func TestFaultsOverSSH(t *testing.T) {
	const src = `:put begin;/disk set a comment=1;:put step;/disk set b comment=2;:put end`
	for _, tt := range []struct {
		name  string
		fault Fault
		sw    Switches
		out   string // what the client gets
		lost  bool   // the connection
		box   string // the comments
	}{
		{"none", Fault{}, Switches{}, "begin\nstep\nend\n", false, "1 2"},
		{"drop before", Fault{DropBefore: true}, Switches{}, "begin\n", true, " "},
		{"drop after", Fault{DropAfter: true}, Switches{}, "begin\n", true, "1 2"},
		{"drop after, script ends", Fault{DropAfter: true}, Switches{EndScripts: true}, "begin\n", true, "1 "},
		{"late", Fault{Late: time.Nanosecond}, Switches{}, "begin\n", true, "1 2"},
		{"refuse", Fault{Trap: "oops"}, Switches{}, "begin\noops\n", false, " "},
		{"fail after", Fault{FailAfter: "oops"}, Switches{}, "begin\noops\n", false, "1 "},
		{"delay", Fault{Delay: 1, AnswerDelay: 1}, Switches{}, "begin\nstep\nend\n", false, "1 2"},
		{"truncate", Fault{Truncate: true}, Switches{}, "begin\nstep\r", true, "1 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Config{Switches: tt.sw})
			c := login(t, s)
			c.add("a")
			c.add("b")
			if tt.fault != (Fault{}) {
				if _, err := s.Inject(Rule{Command: "/disk/set", Transport: "ssh", Args: map[string]string{"numbers": "a"}, Fault: tt.fault}); err != nil {
					t.Fatal(err)
				}
			}
			l := watch(t, s)
			out, err := loginSSH(t, s).exec(src)
			if (err != nil) != tt.lost {
				t.Errorf("connection: %v", err)
			}
			out = strings.ReplaceAll(out, "\r\n", "\n")
			if tt.lost {
				// The end of a connection may overtake the last of what it carried.
				if !strings.HasPrefix(tt.out, out) {
					t.Errorf("script prints %q, want %q", out, tt.out)
				}
			} else if out != tt.out {
				t.Errorf("script prints %q, want %q", out, tt.out)
			}
			for range strings.Count(tt.box, "1") + strings.Count(tt.box, "2") {
				l.read() // the change has taken effect
			}
			var got []string
			for _, d := range s.Disks() {
				got = append(got, d.Comment)
			}
			if strings.Join(got, " ") != tt.box {
				t.Errorf("comments are %q, want %q", got, tt.box)
			}
		})
	}
}

// watch listens for changes.
func watch(t *testing.T, s *Sim) *client {
	t.Helper()
	l := login(t, s)
	l.send("/disk/listen", "=.proplist=comment")
	l.send("/cancel", "=tag=none", ".tag=2") // the listen was received before
	l.unordered([]string{"!trap", ".tag=2", "=message=no such command"}, []string{"!done", ".tag=2"})
	return l
}

// TestLateFault shows that a write lands after its connection was closed.
func TestLateFault(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm-1")
	if _, err := s.Inject(Rule{Command: "/disk/set", Fault: Fault{Late: time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	l := watch(t, s)
	c.send("/disk/set", "=numbers=vm-1", "=comment=late")
	c.wantClosed()
	l.want("!re", "=comment=late")
}

// TestLateWrites shows the switch: a change of a lost connection takes effect so much later.
func TestLateWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &boot{cfg: Config{Switches: Switches{LateWrites: time.Minute}}}
		h := b.late(t.Context(), handler{changes: true, run: func(ctx context.Context, _ Command) (reply, error) { return reply{}, ctx.Err() }})
		began := time.Now()
		if _, err := h.run(t.Context(), Command{}); err != nil || time.Since(began) != 0 {
			t.Errorf("with its connection a change took %v, %v", time.Since(began), err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		h = b.late(gone, handler{changes: true, run: h.run})
		if _, err := h.run(t.Context(), Command{}); err != nil || time.Since(began) != time.Minute {
			t.Errorf("without its connection a change took %v, %v", time.Since(began), err)
		}
	})
}

// TestTruncate shows that an answer of the API ends within itself.
func TestTruncate(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm-1")
	if _, err := s.Inject(Rule{Command: "/disk/print", Fault: Fault{Truncate: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Write(routeros.AppendSentence(nil, "/disk/print")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c.conn)
	if len(got) < 100 || bytes.Contains(got, []byte("!done")) {
		t.Errorf("the answer is %q, %v", got, err)
	}
}

// TestAnswerDelay shows that a command may be carried out long before it is answered.
func TestAnswerDelay(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm-1")
	if _, err := s.Inject(Rule{Command: "/disk/set", Times: 1, Fault: Fault{AnswerDelay: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	l := watch(t, s)
	c.send("/disk/set", "=numbers=vm-1", "=comment=x", ".tag=1")
	l.want("!re", "=comment=x")
	c.must("/disk/print") // before the answer
}

// TestRefuseLogin shows that a login may be refused, over both transports.
func TestRefuseLogin(t *testing.T) {
	s := start(t, Config{})
	if _, err := s.Inject(Rule{Command: "/login", Times: 2, Fault: Fault{Trap: "try later"}}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	c.send("/login", "=name=admin", "=password="+testPassword)
	c.want("!trap", "=message=try later")
	if _, err := dialSSH(t, s, "admin", ssh.Password(testPassword)); err == nil {
		t.Error("login is not refused over SSH")
	}
	loginSSH(t, s).prints("x\n", ":put x")
}

// TestFreeze shows that a frozen box takes connections and commands, and answers when it thaws; the
// exports go on, and freeze apart.
func TestFreeze(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	api, term := login(t, s), loginSSH(t, s)
	api.exported("vm-1", nqnA, 4420)
	node := newInitiator("n1").attach(t, s, nqnA, 4420, func(c *host.Config) { c.KeepAlive = -1 })
	s.FreezeSessions()
	if !s.Frozen() {
		t.Error("the box is not frozen")
	}
	api.send("/disk/set", "=numbers=vm-1", "=comment=x")
	other := dial(t, s)
	other.send("/login", "=name=admin", "=password="+testPassword)
	done := make(chan string, 1)
	go func() {
		out, err := term.exec(":put x")
		done <- fmt.Sprint(out, err)
	}()
	if _, err := node.WriteAt(make([]byte, 512), 0); err != nil {
		t.Errorf("host of a box whose sessions are frozen: %v", err)
	}
	if err := api.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := api.conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a frozen box answers %d bytes", n)
	}
	if err := api.conn.SetReadDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	s.ThawSessions()
	api.want("!done")
	other.want("!done")
	if got := <-done; got != "x\r\n<nil>" {
		t.Errorf("script prints %q", got)
	}
	s.FreezeNVMe()
	wrote := make(chan error, 1)
	go func() {
		_, err := node.WriteAt(make([]byte, 512), 512)
		wrote <- err
	}()
	api.must("/disk/print")
	s.ThawNVMe()
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	s.FreezeSessions()
	reboot(t, s)
	login(t, s).must("/disk/print")
}

// TestGate shows that a shut gate lets go what waits when its connection ends.
func TestGate(t *testing.T) {
	g := newGate()
	g.open(false)
	g.open(false)
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	done := make(chan struct{})
	c := g.through(ours, done)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("x"))
		ended <- err
	}()
	close(done)
	if err := <-ended; err == nil {
		t.Error("a shut gate lets through")
	}
}

// TestFill shows a full pool, over a reboot.
func TestFill(t *testing.T) {
	s := start(t, Config{Capacity: 10 * gib})
	c := login(t, s)
	c.add("vm-1")
	if err := s.Fill(t.Context(), gib/2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s.Free() != gib/2 || c.disk("raid10")["free"] != number(gib/2) {
			t.Errorf("%d bytes are free, %v", s.Free(), c.disk("raid10"))
		}
		c.refused("failure: not enough space", addWords("vm-2")...)
		reboot(t, s)
		c = login(t, s)
	}
	if err := s.Fill(t.Context(), -1); err != nil || s.Free() != 9*gib {
		t.Errorf("%v, %d bytes are free", err, s.Free())
	}
}

// TestQuietResize shows that a disk changes its size and no host is told.
func TestQuietResize(t *testing.T) {
	s := start(t, Config{NVMeHost: LoopbackHost()})
	c := login(t, s)
	c.exported("vm-1", nqnA, 4420)
	told := make(chan struct{}, 1)
	node := newInitiator("n1").attach(t, s, nqnA, 4420, func(c *host.Config) {
		c.OnNamespace = func(old, now host.Namespace) {
			if old.Size > 0 && old.Size != now.Size {
				told <- struct{}{}
			}
		}
	})
	if err := s.Resize(t.Context(), "vm-1", 2<<20); err != nil {
		t.Fatal(err)
	}
	if got := c.disk("vm-1")["size"]; got != "2097152" {
		t.Errorf("size is %s", got)
	}
	if _, err := node.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Error("the host was told")
	default:
	}
	c.must("/disk/set", "=numbers=vm-1", "=file-size=3M")
	<-told
	if err := s.Resize(t.Context(), "none", 1); err == nil {
		t.Error("a disk that is not there is resized")
	}
}

// TestKeepOnNQNChange holds what the change of a live export's name does to its hosts.
func TestKeepOnNQNChange(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := start(t, Config{NVMeHost: LoopbackHost(), Switches: Switches{KeepOnNQNChange: keep}})
		c := login(t, s)
		c.exported("vm-1", nqnA, 4420)
		newInitiator("n1").attach(t, s, nqnA, 4420)
		c.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-server-nqn="+nqnB)
		if got := len(s.Hosts(nqnA)) == 1; got != keep {
			t.Errorf("keep %v: hosts of the old name are %v", keep, s.Hosts(nqnA))
		}
		if _, err := newInitiator("n2").connect(t, s, nqnA, 4420); err == nil {
			t.Errorf("keep %v: a host finds the old name", keep)
		}
		newInitiator("n2").attach(t, s, nqnB, 4420)
		c.must("/disk/set", "=numbers=vm-1", "=nvme-tcp-export=no")
		if hosts := slices.Concat(s.Hosts(nqnA), s.Hosts(nqnB)); len(hosts) > 0 {
			t.Errorf("keep %v: after the export ended, %v are connected", keep, hosts)
		}
	}
}

// TestJournalBound shows that a journal holds only so much, and says what it lost.
func TestJournalBound(t *testing.T) {
	j := newJournal()
	j.most = 8
	for i := range 9 {
		j.note("f", "nqn", fmt.Sprint("host", i), Write{At: time.Unix(int64(i), 0)})
		j.note("f", "nqn", "host0", Write{At: time.Unix(int64(i), 1)}) // writes on
	}
	list := j.list()
	if len(list) != 7 || list[0].Host != "host0" || list[0].Count != 10 || list[1].Host != "host3" || j.forgotten() != 2 {
		t.Errorf("%d entries are lost, %+v are left", j.forgotten(), list)
	}
}
