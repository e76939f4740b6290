// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/routeros"
	"github.com/rds-csi/rds-csi/rds/sim"
)

const (
	matrixCluster = "0123456789ab"
	matrixPath    = "/raid10/volumes"
)

// A transport is a way in which the driver speaks to the box of the matrix.
type transport string

// The transports, all of which the matrix covers.
const (
	overAPI transport = "api"
	overTLS transport = "tls"
	overSSH transport = "ssh"
)

// A matrixBox is a simulated box with what was on it before, and a driver of its own.
type matrixBox struct {
	ctx        context.Context
	sim        *sim.Sim
	dir        string
	before     bystanders
	injector   *injector
	controller *csi.Controller
	troubles   sync.WaitGroup // what is done to the box
	failed     atomic.Pointer[error]
	stop       func() error
}

// bystanders are what is on a box that is not the driver's: the rows without their .id, which a reboot may
// change, and the files with their content.
type bystanders struct {
	rows    []sim.Disk
	files   []sim.File
	content map[string][]byte
}

// A template is a directory of a box with bystanders, to be copied.
type template struct {
	dir    string
	before bystanders
	signer ssh.Signer
	key    []byte // authorized_keys
}

// start starts a box that is like a template and differs from the default as a variation says, and a
// driver that speaks to it.
func (tm *template) start(ctx context.Context, t *testing.T, via transport, v variation) *matrixBox {
	t.Helper()
	b := &matrixBox{ctx: ctx, dir: t.TempDir(), before: tm.before, injector: &injector{}}
	if err := os.CopyFS(b.dir, os.DirFS(tm.dir)); err != nil {
		t.Fatal(err)
	}
	host := sim.LoopbackHost()
	cfg := sim.Config{
		Dir: b.dir, Username: testUser, Password: testPassword, AuthorizedKeys: tm.key, NVMeHost: host,
		APIAddr: sim.Off, TLSAddr: sim.Off, SSHAddr: sim.Off, Switches: v.sw, Fault: b.injector.fault,
	}
	*map[transport]*string{overAPI: &cfg.APIAddr, overTLS: &cfg.TLSAddr, overSSH: &cfg.SSHAddr}[via] = host + ":0"
	b.injector.begin = b.begin
	b.injector.arm(nil, occurrence{})
	var err error
	if b.sim, err = sim.Start(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if err := b.drive(ctx, tm, via, v); err != nil {
		t.Fatal(errors.Join(err, b.sim.Close()))
	}
	return b
}

// drive puts a driver before the box, as newDriver does.
func (b *matrixBox) drive(ctx context.Context, tm *template, via transport, v variation) error {
	var sup *actors.Supervisor
	cfg := rds.Config{
		Username: testUser, Password: testPassword, Cluster: matrixCluster, VolumePaths: []string{matrixPath},
		CommandTimeout: matrixTimeout, Sessions: 2, MinBackoff: time.Millisecond, MaxBackoff: matrixTimeout / 4,
		RestartGrace: matrixTimeout / 2,
		Hooks: rds.Hooks{Connection: func(_ string, up bool) {
			if up {
				sup.Reconcile()
			}
		}},
	}
	switch via {
	case overAPI:
		cfg.Address = b.sim.APIAddr()
	case overTLS:
		cfg.Address = b.sim.TLSAddr()
		cfg.TLS = &tls.Config{RootCAs: b.sim.Roots(), ServerName: "rds-sim", MinVersion: tls.VersionTLS12}
	case overSSH:
		cfg.Address, cfg.Transport = b.sim.SSHAddr(), rds.SSH
		cfg.SSH.HostKey = ssh.FingerprintSHA256(b.sim.HostKey())
		if v.sw.KeysOnly {
			cfg.SSH.Signer = tm.signer
		}
	}
	box, err := rds.New(cfg)
	if err != nil {
		return err
	}
	sup, err = actors.New(actors.Config{
		Box: box, Nodes: matrixNodes{}, Cluster: matrixCluster, CommandTimeout: matrixTimeout, Quiet: matrixTimeout,
		BounceGap: matrixTimeout, Linger: 4 * matrixTimeout,
	})
	if err != nil {
		return err
	}
	b.controller, err = csi.NewController(csi.Config{
		Volumes: sup, Storage: box, Cluster: matrixCluster, BoxAddress: "127.0.0.1", VolumePath: matrixPath,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- sup.Run(running) }()
	b.stop = func() error {
		stop()
		defer box.Close()
		return <-done
	}
	return nil
}

// matrixNodes are as many nodes as are asked for. The one that is called so is lost: a detach from it is
// a forced one.
type matrixNodes struct{}

func (matrixNodes) Check(context.Context, actors.VolumeID, actors.NodeID) (string, error) {
	return "", nil
}

func (matrixNodes) Lost(_ context.Context, _ actors.VolumeID, node actors.NodeID) string {
	if node == lostNode {
		return "node is not ready"
	}
	return ""
}

// begin begins what a trouble does to the box. The box's command waits for the first part of it.
func (b *matrixBox) begin(tr *trouble, came time.Time) {
	if tr.at != nil {
		tr.at(b)
	}
	if tr.then == nil {
		return
	}
	b.troubles.Go(func() {
		if err := tr.then(b.ctx, b, came); err != nil {
			b.failed.Store(&err)
		}
	})
}

// fill leaves so many bytes of the pool free; -1: all that there were.
func (b *matrixBox) fill(free int64) {
	if err := b.sim.Fill(b.ctx, free); err != nil {
		b.failed.Store(&err)
	}
}

// row returns the rows of a volume's file.
func (b *matrixBox) rows(id string) (rows []sim.Disk) {
	for _, d := range b.sim.Disks() {
		if d.File == fileOf(id) {
			rows = append(rows, d)
		}
	}
	return rows
}

// file returns the size of a volume's file, and false if there is none.
func (b *matrixBox) file(id string) (int64, bool) {
	for _, f := range b.sim.Files() {
		if f.Name == fileOf(id) {
			return f.Size, true
		}
	}
	return 0, false
}

func fileOf(id string) string { return strings.TrimPrefix(matrixPath, "/") + "/" + id + ".img" }

// strangers returns how the rows and files that are not of a volume differ from what was there before.
func (b *matrixBox) strangers(id string) error {
	var now bystanders
	for _, d := range b.sim.Disks() {
		if d.File != fileOf(id) {
			d.ID = ""
			now.rows = append(now.rows, d)
		}
	}
	slices.SortFunc(now.rows, bySlot)
	for _, f := range b.sim.Files() {
		if f.Name != fileOf(id) {
			now.files = append(now.files, f)
		}
	}
	if !slices.Equal(now.rows, b.before.rows) {
		return fmt.Errorf("rows that were there before:\n%+v\nare now:\n%+v", b.before.rows, now.rows)
	}
	if !slices.Equal(now.files, b.before.files) {
		return fmt.Errorf("files that were there before:\n%+v\nare now:\n%+v", b.before.files, now.files)
	}
	return nil
}

func bySlot(a, b sim.Disk) int { return strings.Compare(a.Slot+a.File, b.Slot+b.File) }

// close ends the driver and the box, and compares what is left with what was there before, byte by byte.
func (b *matrixBox) close() error {
	stopped := b.stop()
	b.troubles.Wait()
	left := errors.Join(stopped, b.strangers(""))
	if err := b.sim.Close(); err != nil {
		return err
	}
	for name, want := range b.before.content {
		is, err := os.ReadFile(filepath.Join(b.dir, "files", name))
		if err != nil || !bytes.Equal(is, want) {
			left = errors.Join(left, fmt.Errorf("file %s was changed: %w", name, err))
		}
	}
	return left
}

// newTemplate makes a box with bystanders: volumes of another cluster, attached and not, an older
// driver's, one whose ledger is damaged, a disk that is nobody's, and files that have no row, some with
// names as volumes have them.
func newTemplate(t *testing.T) *template {
	t.Helper()
	tm := &template{dir: t.TempDir(), before: bystanders{content: map[string][]byte{}}}
	for _, name := range []string{
		"raid10/volumes/" + matrixID(999001) + ".img", "raid10/volumes/" + matrixID(999002) + ".img",
		"raid10/volumes/" + matrixID(999003) + ".img", "raid10/volumes/" + matrixID(999004) + ".img",
		"raid10/volumes/" + matrixID(999005) + ".img", // a file alone
		"raid10/volumes/" + matrixID(1) + ".img.bak", "raid10/volumes/notes.txt", "raid10/vm-storage-001.img",
		"raid10/backup/" + matrixID(1) + ".img", "raid10/" + matrixID(2) + ".img",
	} {
		content := bytes.Repeat([]byte(name+"\n"), 4096)[:64<<10]
		tm.before.content[name] = content
		file := filepath.Join(tm.dir, "files", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	box, err := sim.Start(t.Context(), sim.Config{Dir: tm.dir, Username: testUser, Password: testPassword, NVMeHost: sim.LoopbackHost()})
	if err != nil {
		t.Fatal(err)
	}
	tm.populate(t, box)
	tm.before.files = box.Files()
	for _, d := range box.Disks() {
		d.ID = ""
		tm.before.rows = append(tm.before.rows, d)
	}
	slices.SortFunc(tm.before.rows, bySlot)
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if tm.signer, err = ssh.NewSignerFromKey(private); err != nil {
		t.Fatal(err)
	}
	tm.key = ssh.MarshalAuthorizedKey(tm.signer.PublicKey())
	return tm
}

// populate makes the rows of the bystanders.
func (tm *template) populate(t *testing.T, box *sim.Sim) {
	client, err := routeros.Dial(t.Context(), routeros.Config{Address: box.APIAddr(), Username: testUser, Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	foreign := actors.Ledger{Cluster: "ffffffffffff", Gen: 7, Fencing: actors.FencingEpoch, Timeout: 300, Port: 4420}
	attached := foreign
	attached.Epoch, attached.Access = 42, actors.AccessSingle
	attached.Grants = []actors.Grant{{Node: "node-a", At: 43}}
	add := func(slot, file, comment string, more ...string) []string {
		return append([]string{
			"/disk/add", "=type=file", "=slot=" + slot, "=file-path=/raid10/" + file, "=file-size=65536",
			"=mount-filesystem=no", "=comment=" + comment,
		}, more...)
	}
	exported := func(n int, nqn string) []string {
		return []string{"=nvme-tcp-export=yes", fmt.Sprintf("=nvme-tcp-server-port=%d", 4400+n), "=nvme-tcp-server-nqn=" + nqn}
	}
	for n, words := range [][]string{
		add("foreign-1", "volumes/"+matrixID(999001)+".img", foreign.String(), "=nvme-tcp-server-nqn="+foreign.NQN(actors.VolumeID(matrixID(999001)))),
		add("foreign-2", "volumes/"+matrixID(999002)+".img", attached.String(), exported(2, attached.NQN(actors.VolumeID(matrixID(999002))))...),
		add(matrixID(999003)[:30], "volumes/"+matrixID(999003)+".img", "", exported(3, "nqn.2000-02.com.mikrotik:"+matrixID(999003))...),
		add("damaged", "volumes/"+matrixID(999004)+".img", "rds-csi.1/c:"+matrixCluster+"/g:", "=nvme-tcp-server-nqn=nqn.2000-02.com.mikrotik:"+matrixID(999004)),
		add("vm-storage-001", "vm-storage-001.img", "a disk of its own", exported(5, "nqn.2026-09.com.mikrotik:vm")...),
	} {
		for _, r := range client.RunAll(t.Context(), words) {
			if r.Err != nil {
				t.Fatalf("bystander %d: %v", n, r.Err)
			}
		}
	}
}
