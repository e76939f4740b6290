// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/nvme/host"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// A clinic is a simulated box for the doctor, with volumes of others on it, one of which a host has
// connected to.
type clinic struct {
	*sim.Sim
	dir      string
	nvme     string
	password string // file
	key      string // file; empty: none

	guest *host.Controller
	lost  atomic.Bool
	was   string // the box before the doctor came
}

const bystanderNQN = "nqn.2000-02.com.mikrotik:bystander"

// newClinic starts a box. Its faults begin when it is set up.
func newClinic(t *testing.T, cfg sim.Config) *clinic {
	t.Helper()
	c := &clinic{dir: t.TempDir(), nvme: sim.LoopbackHost()}
	fault, open := cfg.Fault, make(chan struct{})
	cfg.Fault = func(cmd sim.Command) sim.Fault {
		select {
		case <-open:
		default:
			return sim.Fault{}
		}
		if fault == nil {
			return sim.Fault{}
		}
		return fault(cmd)
	}
	policies := cfg.Policies
	cfg.Policies = ""
	c.Sim = startSuchBox(t, c.dir, c.nvme+":0", cfg)
	c.password = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(c.password, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.populate(t)
	if policies != "" {
		if err := c.Change(t.Context(), sim.Change{Policies: &policies}); err != nil {
			t.Fatal(err)
		}
	}
	close(open)
	c.was = c.state(t)
	return c
}

// setUp carries out commands of the test's own.
func (c *clinic) setUp(t *testing.T, commands ...[]string) {
	t.Helper()
	client, err := rds.DialAPI(t.Context(), rds.Config{Address: c.APIAddr(), Username: testUser, Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, words := range commands {
		if _, err := client.Run(t.Context(), words...); err != nil {
			t.Fatalf("%v: %v", words, err)
		}
	}
}

// populate makes what the doctor must not touch: disks that look like its own as far as they can, and one
// with a host.
func (c *clinic) populate(t *testing.T) {
	const uid = "11111111-2222-4333-8444-555555555555"
	own := "rdscsi-doctor-555555555555-01"
	commands := [][]string{{"/file/add", "=name=raid10/elsewhere", "=type=directory"}}
	for _, d := range [][3]string{
		{"bystander", "/raid10/bystander.img", "a VM's disk"},
		{own, "/raid10/no-mark.img", ""},
		{"no-name", "/raid10/" + own + ".img", "rdscsi-doctor/" + uid},
		{"rdscsi-doctor-555555555555-02", "/raid10/no-file-name.img", "rdscsi-doctor/" + uid},
		{"rdscsi-doctor-666666666666-03", "/raid10/rdscsi-doctor-555555555555-03.img", "rdscsi-doctor/" + uid},
		{"rdscsi-doctor-555555555555-04", "/raid10/elsewhere/rdscsi-doctor-555555555555-04.img", "rdscsi-doctor/" + uid},
		{"rdscsi-doctor-555555555555-05", "/raid10/rdscsi-doctor-555555555555-05.img", "mine: rdscsi-doctor/" + uid},
	} {
		words := []string{"/disk/add", "=type=file", "=slot=" + d[0], "=file-path=" + d[1], "=file-size=1048576", "=mount-filesystem=no"}
		if d[2] != "" {
			words = append(words, "=comment="+d[2])
		}
		if d[0] == "bystander" {
			words = append(words, "=nvme-tcp-export=yes", "=nvme-tcp-server-port=4420", "=nvme-tcp-server-nqn="+bystanderNQN)
		}
		commands = append(commands, words)
	}
	c.setUp(t, commands...)
	c.visit(t)
}

// visit connects a host that must not notice the doctor.
func (c *clinic) visit(t *testing.T) {
	t.Helper()
	id := uuid.New()
	var err error
	for {
		c.guest, err = host.Connect(t.Context(), host.Config{
			Address: c.nvme + ":4420", SubsystemNQN: bystanderNQN, HostNQN: "nqn.2014-08.org.nvmexpress:uuid:" + id.String(), HostID: id,
			CtrlLossTimeout: -1,
			OnState: func(old, _ host.State) {
				if old == host.StateLive {
					c.lost.Store(true)
				}
			},
		})
		if err == nil {
			break // an export that begins late is tried until it does
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = c.guest.Close() })
	if _, err := c.guest.WriteAt(bytes.Repeat([]byte("bystander"), 512)[:4096], 0); err != nil {
		t.Fatal(err)
	}
}

// state is everything that there is on the box: rows, files, and the bytes of them.
func (c *clinic) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, d := range c.Disks() {
		fmt.Fprintf(&b, "%+v\n", d)
	}
	fmt.Fprintf(&b, "%d bytes free\n", c.Free())
	root := filepath.Join(c.dir, "files")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			b.WriteString(strings.TrimPrefix(path, root) + "\n")
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", strings.TrimPrefix(path, root), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// untouched fails unless the box is as it was before the doctor came, and its guest has noticed nothing.
func (c *clinic) untouched(t *testing.T) {
	t.Helper()
	if is := c.state(t); is != c.was {
		t.Errorf("the box was\n%s\nand is\n%s", c.was, is)
	}
	if c.lost.Load() {
		t.Error("the host of another disk lost its connection")
	}
	if _, err := c.guest.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Errorf("the host of another disk: %v", err)
	}
}

// A route is a transport that the flags name first. The other one is configured beside it.
type route struct {
	name  string
	flags func(c *clinic) []string
}

var routes = []route{
	{"API", func(c *clinic) []string {
		return []string{"--rds-address=" + c.TLSAddr(), "--also-address=" + c.SSHAddr()}
	}},
	{"SSH", func(c *clinic) []string {
		return []string{"--rds-transport=ssh", "--rds-address=" + c.SSHAddr(), "--also-address=" + c.TLSAddr()}
	}},
}

// args are the flags of a doctor over one route, with both transports configured.
func (c *clinic) args(w route, more ...string) []string {
	args := append([]string{
		"--rds-user=" + testUser, "--rds-password-file=" + c.password, "--nvme-address=" + c.nvme,
		"--rds-ca-file=" + c.CertificateFile(), "--rds-ssh-host-key=" + ssh.FingerprintSHA256(c.HostKey()),
	}, w.flags(c)...)
	if c.key != "" {
		args = append(args, "--rds-ssh-key-file="+c.key)
	}
	return append(args, more...)
}

// doctor runs the doctor and returns its exit code and what it printed.
func (c *clinic) doctor(ctx context.Context, t *testing.T, w route, more ...string) (code int, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(ctx, append([]string{"doctor"}, c.args(w, more...)...), &stdout, &stderr)
	said = stdout.String()
	for _, text := range []string{said, stderr.String()} {
		if strings.Contains(text, testPassword) {
			t.Error("the password is told")
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("exit code %d\n%s%s", code, said, stderr.String())
	}
	return code, said
}

// newKeyFile writes a private key, and returns the file and the public half.
func newKeyFile(t *testing.T) (file string, public []byte) {
	t.Helper()
	private, public := newKey(t)
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

// TestDoctorOnlyLooks shows that without the write test no command is sent that could change anything.
func TestDoctorOnlyLooks(t *testing.T) {
	looks := map[string]bool{
		"/login": true, "/disk/print": true, "/system/resource/print": true, "/system/resource/get": true,
		"/system/package/print": true, "/user/print": true, "/user/group/print": true, "/ip/service/print": true,
	}
	for _, w := range routes {
		t.Run(w.name, func(t *testing.T) {
			var mu sync.Mutex
			sent := map[string]int{}
			c := newClinic(t, sim.Config{Fault: func(cmd sim.Command) sim.Fault {
				mu.Lock()
				defer mu.Unlock()
				sent[cmd.Name]++
				return sim.Fault{}
			}})
			code, said := c.doctor(t.Context(), t, w, "--count-sessions")
			if code != exitOK || !strings.Contains(said, "NVMe/TCP port") || !strings.Contains(said, c.nvme+":4420 answers") {
				t.Errorf("exit code %d\n%s", code, said)
			}
			mu.Lock()
			defer mu.Unlock()
			for name, n := range sent {
				if !looks[name] {
					t.Errorf("%d times %s", n, name)
				}
			}
			if len(sent) < 6 || sent["/disk/print"] == 0 {
				t.Errorf("commands: %v", sent)
			}
			if unknown := c.Commands()["unknown"]; unknown > 0 {
				t.Errorf("%d commands that the box does not know", unknown)
			}
			c.untouched(t)
		})
	}
}

// TestDoctorFinds shows what is wrong in the exit code, and in the row that says so.
func TestDoctorFinds(t *testing.T) {
	api, overSSH := routes[0], routes[1]
	tests := map[string]struct {
		way   route
		cfg   sim.Config
		flags []string
		code  int
		says  string // in the row, and in the one behind it
	}{
		"a healthy box":          {api, sim.Config{Policies: "read,write,ftp,api,ssh"}, nil, exitOK, "ok pool of /raid10"},
		"an unknown account":     {api, sim.Config{}, []string{"--rds-user=nobody"}, exitFailed, "FAIL API over TLS login"},
		"nobody at the address":  {api, sim.Config{}, []string{"--rds-address=127.0.0.1:1"}, exitFailed, "FAIL API over TLS port"},
		"no certificate":         {api, sim.Config{NoCertificate: true}, nil, exitFailed, "FAIL API over TLS login"},
		"another host key":       {overSSH, sim.Config{}, []string{"--rds-ssh-host-key=SHA256:" + strings.Repeat("A", 43)}, exitFailed, "FAIL SSH login"},
		"an old RouterOS, SSH":   {overSSH, sim.Config{Version: "7.12.1 (stable)"}, nil, exitFailed, "FAIL RouterOS"},
		"an older RouterOS, API": {api, sim.Config{Version: "7.19 (stable)"}, nil, exitOK, "warn RouterOS"},
		"a strange version":      {api, sim.Config{Version: "eight"}, nil, exitOK, "warn RouterOS"},
		"no package":             {api, sim.Config{Storage: sim.Missing}, nil, exitFailed, "FAIL package rose-storage"},
		"a disabled package":     {overSSH, sim.Config{Storage: sim.Disabled}, nil, exitFailed, "FAIL package rose-storage"},
		"no pool":                {api, sim.Config{PoolMissing: true}, nil, exitFailed, "FAIL pool of /raid10"},
		"another path":           {api, sim.Config{}, []string{"--volume-path=/raid10/vols,/other"}, exitFailed, "FAIL pool of /other"},
		"a degraded pool":        {api, sim.Config{PoolState: "degraded"}, nil, exitFailed, "FAIL pool of /raid10"},
		"a pool in repair":       {overSSH, sim.Config{PoolState: "clean, sync:repair"}, nil, exitOK, "warn pool of /raid10"},
		"a full pool":            {api, sim.Config{Capacity: 7 << 20}, nil, exitFailed, "FAIL free space of /raid10"},
		"no right to write":      {api, sim.Config{Policies: "read,ftp,api,ssh"}, nil, exitFailed, "FAIL policies of the account"},
		"no right to read users": {api, sim.Config{Policies: "read,write,ftp,api,ssh", Switches: sim.Switches{UsersNeedPolicy: true}}, nil, exitOK, "skipped policies of the account"},
		"few sessions":           {api, sim.Config{MaxSessions: 7}, nil, exitOK, "warn service"},
		"no flag for a box":      {api, sim.Config{}, []string{"--rds-address="}, exitUsage, ""},
		"a question there isn't": {api, sim.Config{}, []string{"--write-test", "--yes", "--only=42"}, exitUsage, ""},
		"yes to nothing":         {api, sim.Config{}, []string{"--yes"}, exitUsage, ""},
		"no range of ports":      {api, sim.Config{}, []string{"--nvme-port=4420"}, exitUsage, ""},
		"a path that is none":    {api, sim.Config{}, []string{"--volume-path=raid10"}, exitUsage, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newHealthy(t, tt.cfg)
			code, said := c.doctor(t.Context(), t, tt.way, tt.flags...)
			words := strings.Join(strings.Fields(said), " ")
			if code != tt.code || !strings.Contains(words, tt.says) {
				t.Errorf("exit code %d, want %d, and %q in it:\n%s", code, tt.code, tt.says, said)
			}
		})
	}
}

// newHealthy is newClinic that is ill only afterwards, as a box with volumes becomes.
func newHealthy(t *testing.T, ill sim.Config) *clinic {
	t.Helper()
	healthy := ill
	healthy.Storage, healthy.PoolMissing, healthy.PoolState, healthy.NoCertificate = sim.Installed, false, "", false
	c := newClinic(t, healthy)
	change := sim.Change{Storage: &ill.Storage, PoolMissing: &ill.PoolMissing, PoolState: &ill.PoolState, NoCertificate: &ill.NoCertificate}
	if err := c.Change(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return c
}
