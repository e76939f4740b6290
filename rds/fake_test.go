// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testCluster  = "0123456789ab"
	testPassword = "correct-horse"
	testPath     = "/raid10/volumes"
	testVolume   = actors.VolumeID("pvc-0b5e1d4e-3b1c-4f0e-9a57-2f0d6f6d0a11")
	testNQN      = "nqn.2000-02.com.mikrotik:" + string(testVolume)
	testFile     = "raid10/volumes/" + string(testVolume) + ".img"
	gib          = int64(1) << 30
)

// A fakeBox is an RDS that does nothing but answer, so that a test can have it show and answer what a
// sound one would not. It needs no sockets, so that a test that waits for a deadline can do so in a
// synctest bubble. Tests of what a sound one does use the simulator. How it is spoken to is in
// fake_wire_test.go.
type fakeBox struct {
	t       *testing.T
	over    string // the transport
	face    face
	serving sync.WaitGroup

	mu       sync.Mutex
	nextID   int
	disks    []attrs
	files    map[string]bool // without a leading slash
	log      []string        // commands but for what reads, without the tag
	started  time.Time
	listings int
	conns    map[net.Conn]bool
	accepted []net.Conn // in order
	// act answers a command in place of the box, which it may ask to do its work. Nil: the box does.
	// Commands and answers are the words of the API, whatever the transport. A nil answer is none.
	act func(cmd []string, do func() []string) []string
}

// attrs are the attributes of a row, by name.
type attrs map[string]string

// row returns them as a listing does, in one order always.
func (a attrs) row() routeros.Row {
	var r routeros.Row
	for _, name := range slices.Sorted(maps.Keys(a)) {
		r = append(r, "="+name+"="+a[name])
	}
	return r
}

// wire returns rows as a listing does.
func wire(rows ...attrs) []routeros.Row {
	var out []routeros.Row
	for _, a := range rows {
		out = append(out, a.row())
	}
	return out
}

func newFakeBox(t *testing.T, over string) *fakeBox {
	t.Helper()
	f := &fakeBox{t: t, over: over, face: newFace(t, over), files: map[string]bool{}, conns: map[net.Conn]bool{}, nextID: 1, started: time.Now().Add(-24 * time.Hour)}
	f.addRow(attrs{"type": "raid", "slot": "raid10", "mount-point": "raid10", "state": "clean", "size": "16003143565312", "free": "14789895307264"})
	t.Cleanup(func() {
		f.drop()
		f.serving.Wait()
	})
	return f
}

// drop ends all connections.
func (f *fakeBox) drop() {
	f.change(func() {
		for c := range f.conns {
			_ = c.Close()
		}
		clear(f.conns)
	})
}

// restart ends all connections, as a box does that restarts.
func (f *fakeBox) restart() {
	f.change(func() { f.started = time.Now() })
	f.drop()
}

func (f *fakeBox) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// on sets what answers commands.
func (f *fakeBox) on(act func(cmd []string, do func() []string) []string) {
	f.change(func() { f.act = act })
}

func (f *fakeBox) addRow(r attrs) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id = fmt.Sprintf("*%X", f.nextID)
	f.nextID++
	r[".id"] = id
	f.disks = append(f.disks, r)
	if p := r["file-path"]; p != "" {
		f.files[strings.TrimPrefix(p, "/")] = true
	}
	return id
}

// disk returns the row of a volume's file as it is now.
func (f *fakeBox) disk(id actors.VolumeID) attrs {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.disks {
		if strings.HasSuffix(d["file-path"], string(id)+".img") {
			return maps.Clone(d)
		}
	}
	return nil
}

// commands returns what came, but for what reads.
func (f *fakeBox) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// answer notes a command and returns the answer to it, with the rows that come before.
func (f *fakeBox) answer(cmd []string) (rows []attrs, reply []string) {
	f.mu.Lock()
	switch cmd[0] {
	case "/disk/print":
		f.listings++
	case "/login", "/cancel", "/system/resource/print":
	default:
		f.log = append(f.log, strings.Join(cmd, " "))
	}
	act := f.act
	f.mu.Unlock()
	do := func() []string { return f.do(cmd, &rows) }
	if act == nil {
		reply = do()
	} else {
		reply = act(cmd, do)
	}
	return rows, reply
}

var (
	done    = []string{"!done"}
	drop    = []string{"drop"}
	missing = []string{"!trap", "=category=0", "=message=no such item"}
)

func trap(message string) []string { return []string{"!trap", "=message=" + message} }

// do does what a sound box would. Rows go to out.
func (f *fakeBox) do(cmd []string, out *[]attrs) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	args := map[string]string{}
	for _, w := range cmd[1:] {
		if name, value, ok := strings.Cut(strings.TrimPrefix(w, "="), "="); ok {
			args[name] = value
		}
	}
	switch cmd[0] {
	case "/login", "/cancel":
		return done
	case "/system/resource/print":
		*out = append(*out, attrs{"uptime": fmt.Sprintf("%ds", time.Since(f.started)/time.Second)})
		return done
	case "/disk/print":
		for _, d := range f.disks {
			*out = append(*out, maps.Clone(d))
		}
		return done
	case "/disk/add":
		id := fmt.Sprintf("*%X", f.nextID)
		f.nextID++
		args[".id"] = id
		f.disks = append(f.disks, args)
		f.files[strings.TrimPrefix(args["file-path"], "/")] = true
		return []string{"!done", "=ret=" + id}
	case "/file/remove":
		if !f.files[args["numbers"]] {
			return missing
		}
		delete(f.files, args["numbers"])
		return done
	}
	i := slices.IndexFunc(f.disks, func(d attrs) bool { return d[".id"] == args[".id"] })
	switch {
	case i < 0:
		return missing
	case cmd[0] == "/disk/remove":
		f.disks = slices.Delete(f.disks, i, i+1)
	default:
		maps.Copy(f.disks[i], args)
	}
	return done
}

// box returns a Box on the fake.
func (f *fakeBox) box(change func(*Config)) *Box {
	f.t.Helper()
	return newBox(f.t, "rds:8728", func(cfg *Config) {
		cfg.DialContext = f.dial
		f.face.settings(cfg)
		if change != nil {
			change(cfg)
		}
	})
}

func newBox(t *testing.T, address string, change func(*Config)) *Box {
	t.Helper()
	cfg := Config{
		Address: address, Username: "admin", Password: testPassword, Cluster: testCluster,
		VolumePaths: []string{testPath, "/raid10/old"}, CommandTimeout: 20 * time.Second,
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ledger returns the first ledger of a volume, changed.
func ledger(change func(*actors.Ledger)) actors.Ledger {
	l := actors.Ledger{Cluster: testCluster, Gen: 1, Fencing: actors.FencingEpoch, Timeout: actors.DefaultTimeout}
	if change != nil {
		change(&l)
	}
	return l
}

func gen(n uint64) actors.Ledger { return ledger(func(l *actors.Ledger) { l.Gen = n }) }

// made returns the ledger of a volume that was just created.
func made(port uint16) actors.Ledger {
	return ledger(func(l *actors.Ledger) { l.Port = port })
}

// addVolume puts testVolume on the box: 1 GiB, not exported, gen 1.
func (f *fakeBox) addVolume(change func(attrs)) (id string) {
	r := attrs{
		"type": "file", "slot": "any-name", "file-path": "/" + testFile, "file-size": fmt.Sprint(gib), "size": fmt.Sprint(gib),
		"nvme-tcp-export": "false", "nvme-tcp-server-port": "4420", "nvme-tcp-server-nqn": testNQN, "comment": gen(1).String(),
	}
	if change != nil {
		change(r)
	}
	return f.addRow(r)
}

func spec(change func(*actors.Spec)) actors.Spec {
	s := actors.Spec{
		ID: testVolume, Size: gib, VolumePath: testPath, NQN: testNQN,
		Ports: actors.Ports{First: 4420, Last: 8515}, Ledger: gen(1),
	}
	if change != nil {
		change(&s)
	}
	return s
}
