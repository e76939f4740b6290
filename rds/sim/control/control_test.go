// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang is when a test gives up. Nothing is measured by it.
const hang = 30 * time.Second

// A bench is a box with a control port and a session.
type bench struct {
	t   *testing.T
	box *sim.Sim
	url string
	api *routeros.Client
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := sim.Start(t.Context(), sim.Config{Dir: t.TempDir(), Password: "x", NVMeHost: sim.LoopbackHost()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(New(s))
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, box: s, url: server.URL}
	b.login()
	return b
}

// login opens a session in place of the one before.
func (b *bench) login() {
	b.t.Helper()
	c, err := routeros.Dial(b.t.Context(), routeros.Config{Address: b.box.APIAddr(), Username: "admin", Password: "x"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	b.api = c
}

// run carries out a command.
func (b *bench) run(words ...string) error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), hang)
	defer cancel()
	_, err := b.api.Run(ctx, words...)
	return err
}

func (b *bench) add(slot string) error {
	return b.run("/disk/add", "=type=file", "=slot="+slot, "=file-path=/raid10/"+slot, "=file-size=1M")
}

// ask sends a request and returns its status and its answer.
func (b *bench) ask(method, path, body string, into any) (status int, text string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(answer, into)
	}
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(answer)
}

// must is a request that must not fail.
func (b *bench) must(method, path, body string, into any) {
	b.t.Helper()
	if status, text := b.ask(method, path, body, into); status != http.StatusOK {
		b.t.Fatalf("%s %s %s: %d %s", method, path, body, status, text)
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	if err := b.add("vm-1"); err != nil {
		t.Fatal(err)
	}
	var f Fault
	b.must("POST", "/faults", `{"command": "/disk/set", "args": {"numbers": "vm-*"}, "refuse": "no", "times": 1}`, &f)
	if err := b.run("/disk/set", "=numbers=vm-1"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("refused command: %v", err)
	}
	if err := b.run("/disk/set", "=numbers=vm-1"); err != nil {
		t.Errorf("command after the fault: %v", err)
	}
	b.must("POST", "/faults", `{"command": "/disk/set", "drop": "after", "delay": "1ms"}`, nil)
	if err := b.run("/disk/set", "=numbers=vm-1", "=comment=x"); !errors.Is(err, routeros.ErrUnanswered) || b.box.Disks()[0].Comment != "x" {
		t.Errorf("dropped command: %v, %v", err, b.box.Disks())
	}
	var list []Fault
	b.must("GET", "/faults", "", &list)
	if len(list) != 2 || list[0].ID != f.ID || list[0].Hits != 1 || list[0].Refuse != "no" || list[1].Drop != "after" || list[1].Delay != Duration(time.Millisecond) {
		t.Errorf("faults are %+v", list)
	}
	b.must("DELETE", "/faults/1", "", nil)
	if status, _ := b.ask("DELETE", "/faults/1", "", nil); status != http.StatusNotFound {
		t.Errorf("second delete: %d", status)
	}
	b.must("DELETE", "/faults", "", nil)
	if len(b.box.Faults()) != 0 {
		t.Errorf("faults are %+v", b.box.Faults())
	}
	var commands map[string]int
	if b.must("GET", "/commands", "", &commands); commands["/disk/set"] != 3 {
		t.Errorf("commands are %v", commands)
	}
}

// TestHostFaults: what is told of a fault for hosts is what was asked for.
func TestHostFaults(t *testing.T) {
	b := newBench(t)
	const rule = `"command":"read","transport":"nvme","args":{"subsystem":"*:vm-1.*"}`
	for i, what := range []string{
		`"freeze":true`, `"delay":"1s"`, `"status":"media"`, `"status":"internal"`, `"status":"retry"`, `"blank":true`, `"size":5`, `"stale":true`,
	} {
		b.must("POST", "/faults", "{"+rule+","+what+"}", nil)
		_, text := b.ask("GET", "/faults", "", nil)
		if want := fmt.Sprintf(`[{"id":%d,%s,%s}]`, i+1, rule, what); strings.TrimSpace(text) != want {
			t.Errorf("faults are %s, want %s", text, want)
		}
		b.must("DELETE", "/faults", "", nil)
	}
}

func TestBox(t *testing.T) {
	b := newBench(t)
	if err := b.add("vm-1"); err != nil {
		t.Fatal(err)
	}
	var status Status
	b.must("GET", "/status", "", &status)
	if status.API != b.box.APIAddr() || status.SSH != b.box.SSHAddr() || status.Disks != 1 || status.Sessions != 1 || status.Free != 1<<40-1<<20 {
		t.Errorf("status is %+v", status)
	}
	b.must("POST", "/fill", `{"free": 100}`, nil)
	if err := b.add("vm-2"); err == nil || b.box.Free() != 100 {
		t.Errorf("add to a full pool: %v, %d bytes are free", err, b.box.Free())
	}
	b.must("POST", "/fill", `{"free": -1}`, nil)
	b.must("POST", "/resize", `{"disk": "vm-1", "size": 2097152}`, nil)
	var disks []sim.Disk
	var files []sim.File
	b.must("GET", "/disks", "", &disks)
	b.must("GET", "/files", "", &files)
	if !slices.Equal(disks, b.box.Disks()) || disks[0].Size != 2<<20 || !slices.Equal(files, b.box.Files()) {
		t.Errorf("disks are %v, files %v", disks, files)
	}
	b.must("POST", "/freeze", "{}", nil)
	if !b.box.Frozen() {
		t.Error("the box is not frozen")
	}
	b.must("POST", "/thaw", `{"sessions": true}`, nil)
	b.must("POST", "/thaw", `{"nvme": true}`, nil)
	if b.box.Frozen() {
		t.Error("the box is frozen")
	}
	b.must("POST", "/drop", "{}", nil)
	if err := b.run("/disk/print"); err == nil {
		t.Error("the session is not dropped")
	}
	b.must("POST", "/drop", `{"nqn": "nqn.none"}`, nil)
	b.must("POST", "/reboot", `{"lose": "1h"}`, nil)
	if got := b.box.Disks(); len(got) != 0 {
		t.Errorf("disks that the box was to lose: %v", got)
	}
	b.login()
	if err := b.add("vm-3"); err != nil {
		t.Fatal(err)
	}
	b.must("POST", "/reboot", "", nil)
	if got := b.box.Disks(); len(got) != 1 {
		t.Errorf("disks that the box was to keep: %v", got)
	}
	var journal []sim.JournalEntry
	if b.must("GET", "/journal", "", &journal); len(journal) != 0 {
		t.Errorf("journal is %v", journal)
	}
}

// TestSettings mends a box and spoils it, and is never told the password.
func TestSettings(t *testing.T) {
	b := newBench(t)
	var got sim.Settings
	b.must("POST", "/settings", `{"policies": "read,api", "storage": "disabled", "pool-state": "degraded", "pool-missing": true, "missing-disks": "vm-1", "no-certificate": true}`, &got)
	if got != b.box.Settings() || got.Storage != sim.Disabled || got.PoolState != "degraded" || !got.PoolMissing || got.MissingDisks != "vm-1" || !got.NoCertificate || !strings.HasPrefix(got.Policies, "read,api,!") {
		t.Errorf("settings are %+v", got)
	}
	if err := b.add("vm-1"); err == nil || !strings.Contains(err.Error(), "not enough permissions") {
		t.Errorf("add without write: %v", err)
	}
	b.must("POST", "/settings", `{"policies": "", "storage": "installed", "pool-missing": false}`, nil)
	if err := b.add("vm-1"); err != nil {
		t.Error(err)
	}
	_, text := b.ask("POST", "/settings", `{"password": "hush-hush"}`, nil)
	_, again := b.ask("GET", "/settings", "", nil)
	if text != again || strings.Contains(text, "hush") || !strings.Contains(text, `"storage":"installed"`) {
		t.Errorf("settings are %s and then %s", text, again)
	}
	if _, err := routeros.Dial(t.Context(), routeros.Config{Address: b.box.APIAddr(), Username: "admin", Password: "x"}); err == nil {
		t.Error("the old password still counts")
	}
}

// TestMisuse holds what is refused.
func TestMisuse(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ path, body, want string }{
		{"/faults", "{}", "nothing is to happen"},
		{"/faults", `{"drop": "now"}`, "not before or after"},
		{"/faults", `{"transport": "ftp", "truncate": true}`, "not api, ssh or nvme"},
		{"/faults", `{"transport": "api", "blank": true}`, "give the transport nvme"},
		{"/faults", `{"transport": "nvme", "drop": "after"}`, "a host's command can be"},
		{"/faults", `{"transport": "nvme", "status": "bad"}`, "not media, internal or retry"},
		{"/faults", `{"transport": "nvme"}`, "nothing is to happen"},
		{"/faults", `{"times": -1, "truncate": true}`, "must not be negative"},
		{"/faults", `{"command": "[", "truncate": true}`, "syntax error in pattern"},
		{"/faults", `{"delay": "-1s"}`, "negative"},
		{"/faults", `{"delay": 5}`, "a time such as"},
		{"/faults", `{"colour": "red"}`, "unknown field"},
		{"/faults", `{`, "read the request"},
		{"/fill", "{}", "free is missing"},
		{"/resize", `{"disk": "none", "size": 5}`, "no such item"},
		{"/drop", `{"host": "h"}`, "give its nqn"},
		{"/settings", `{"policies": "read,dude"}`, "none of the policies"},
		{"/settings", `{"storage": "gone"}`, "none of installed, disabled, available, missing"},
	} {
		if status, text := b.ask("POST", tt.path, tt.body, nil); status != http.StatusBadRequest || !strings.Contains(text, tt.want) {
			t.Errorf("POST %s %s: %d %s, want %q", tt.path, tt.body, status, text, tt.want)
		}
	}
	if n := len(b.box.Faults()); n > 0 {
		t.Errorf("%d faults are in force", n)
	}
	resp, err := http.Post(b.url+"/reboot", "text/plain", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a request that is not said to be JSON: %d", resp.StatusCode)
	}
}
