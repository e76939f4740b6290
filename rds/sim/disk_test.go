// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const gib = 1 << 30

// TestDiskRow holds a row as the API shows it, with exact bytes.
func TestDiskRow(t *testing.T) {
	c := login(t, start(t, Config{}))
	if id := c.add("vm-1", "=comment=a b", "=nvme-tcp-server-port=5000"); id != "*2" {
		t.Errorf("first disk is %s, want *2", id)
	}
	want := row{
		".id": "*2", "type": "file", "slot": "vm-1", "comment": "a b", "slot-default": "", "parent": "", "fs": "-",
		"model": "/raid10/vm-1.img", "size": "1073741824", "mount-filesystem": "false", "mounted": "false",
		"sector-size": "512", "raid-master": "none", "nvme-tcp-export": "false", "nvme-tcp-server-port": "5000",
		"mount-read-only": "false", "compress": "false", "iscsi-export": "false", "nfs-sharing": "false",
		"smb-sharing": "false", "media-sharing": "false", "swap": "false",
		"file-path": "/raid10/vm-1.img", "file-size": "1073741824", "file-offset": "0", "disabled": "false",
	}
	if got := c.disk("vm-1"); !maps.Equal(got, want) {
		t.Errorf("row is\n%v, want\n%v", got, want)
	}
}

// TestFileSize holds the forms of a size, which is binary.
func TestFileSize(t *testing.T) {
	c := login(t, start(t, Config{Capacity: 8 << 40}))
	for i, tt := range []struct{ in, size string }{
		{"1T", "1099511627776"},
		{"3G", "3221225472"},
		{"5m", "5242880"},
		{"8K", "8192"},
		{"2GiB", "2147483648"},
		{"1073741824", "1073741824"},
		{"1073742335", "1073741824"},
	} {
		slot := fmt.Sprintf("d%d", i)
		c.add(slot, "=file-size="+tt.in)
		if got := c.disk(slot)["size"]; got != tt.size {
			t.Errorf("file-size %s gives size %s, want %s", tt.in, got, tt.size)
		}
	}
	for _, bad := range []string{"", "-1", "1P", "x", "1.5G", "iB", "9223372036854775808", "16777216T", "0", "511"} {
		c.refused("invalid value for argument file-size", addWords("bad", "=file-size="+bad)...)
	}
}

func TestSet(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm-1")
	c.add("vm-2")
	c.must("/disk/set", "=.id=*2", "=comment=one")
	c.must("/disk/set", "=numbers=vm-2", "=comment=two", "=file-size=2G")
	c.must("/disk/set", "=numbers=*2,vm-2", "=disabled=yes")
	got := s.Disks()
	if len(got) != 2 || got[0].Comment != "one" || got[1].Comment != "two" || got[1].Size != 2*gib || !got[0].Disabled || !got[1].Disabled {
		t.Errorf("disks are %+v", got)
	}
	before := s.Disks()
	for _, tt := range []struct {
		message string
		words   []string
	}{
		{"no such item", []string{"=.id=*9", "=comment=x"}},
		{"no such item", []string{"=.id=[find]", "=comment=x"}},
		{"no such item", []string{"=numbers=*2,*9", "=comment=x"}},
		{"no such item", []string{"=numbers=", "=comment=x"}},
		{"missing =.id=", []string{"=comment=x"}},
		{"unknown parameter", []string{"=.id=*2", "=comment=x", "=colour=red"}},
		{"unknown parameter", []string{"=.id=*2", "=comment=x", "=file-path=/raid10/y"}},
		{"input does not match any value of nvme-tcp-export", []string{"=.id=*2", "=comment=x", "=nvme-tcp-export=perhaps"}},
		{"value of nvme-tcp-server-port out of range (1024..65535)", []string{"=.id=*2", "=comment=x", "=nvme-tcp-server-port=80"}},
		{"failure: ", []string{"=.id=*2", "=slot=vm-2"}},
		{"failure: ", []string{"=.id=*1", "=comment=x"}},
		{"failure: ", []string{"=.id=*2", "=file-size=1M"}},
	} {
		c.refused(tt.message, append([]string{"/disk/set"}, tt.words...)...)
	}
	if after := s.Disks(); !slices.Equal(after, before) {
		t.Errorf("refused commands changed the disks to %+v, from %+v", after, before)
	}
}

// TestRemoveLeavesFile shows that the file of a disk outlives its row, takes room until it is
// removed by its name without a leading slash, and serves a new row with what it holds.
func TestRemoveLeavesFile(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{Dir: dir, Capacity: 10 * gib})
	c := login(t, s)
	c.add("vm-1")
	host := filepath.Join(dir, "files", "raid10", "vm-1.img")
	if err := os.WriteFile(host, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("/disk/remove", "=.id=*2")
	if got, want := s.Files(), []File{{Name: "raid10/vm-1.img", Size: gib}}; !slices.Equal(got, want) || len(s.Disks()) != 0 {
		t.Fatalf("files are %v and disks %v, want %v and none", got, s.Disks(), want)
	}
	if free := s.Free(); free != 9*gib {
		t.Errorf("%d bytes are free, want 9 GiB", free)
	}
	c.add("again", "=file-path=/raid10/vm-1.img")
	if b, err := os.ReadFile(host); err != nil || !strings.HasPrefix(string(b), "precious") {
		t.Errorf("file of the new row holds %.20q, %v", b, err)
	}
	c.must("/disk/remove", "=numbers=again")
	c.refused("no such item", "/file/remove", "=numbers=/raid10/vm-1.img")
	c.must("/file/remove", "=numbers=raid10/vm-1.img")
	c.refused("no such item", "/file/remove", "=numbers=raid10/vm-1.img")
	if _, err := os.Stat(host); !os.IsNotExist(err) || s.Free() != 10*gib {
		t.Errorf("removed file: %v, %d bytes free", err, s.Free())
	}
}

// TestCapacity shows that sizes add up, that what does not fit is refused without a trace, and that
// the pool's row tells the rest.
func TestCapacity(t *testing.T) {
	s := start(t, Config{Capacity: 3 * gib})
	c := login(t, s)
	free := func() int64 {
		t.Helper()
		n, err := strconv.ParseInt(c.disk("raid10")["free"], 10, 64)
		if err != nil || n != s.Free() {
			t.Fatalf("pool's free is %d, %v, and Free %d", n, err, s.Free())
		}
		return n
	}
	c.add("a")
	c.add("b")
	c.refused("failure: ", addWords("c", "=file-size=1073741825")...)
	c.refused("failure: ", "/disk/set", "=numbers=a", "=file-size=2147483649")
	if free() != gib || len(s.Files()) != 2 || len(s.Disks()) != 2 {
		t.Fatalf("after refusals: %d free, files %v, disks %v", free(), s.Files(), s.Disks())
	}
	c.must("/disk/set", "=numbers=a", "=file-size=2G")
	if free() != 0 || c.disk("raid10")["use"] != "100%" {
		t.Errorf("full pool is %v", c.disk("raid10"))
	}
	c.refused("failure: ", addWords("c", "=file-size=512")...)
}

// TestReboot shows that disks, their IDs and files, the address and the certificate stay, over a
// reboot and over a new process, and that IDs are not used again.
func TestReboot(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), APIAddr: "127.0.0.1:0"}
	s := start(t, cfg)
	c := login(t, s)
	c.add("vm-1", "=comment=kept", "=nvme-tcp-server-password=secret")
	c.add("vm-2")
	c.must("/disk/remove", "=numbers=vm-2")
	before, files, addr, cert, on := s.Disks(), s.Files(), s.APIAddr(), s.Certificate(), s.boot().since
	if err := s.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantClosed()
	check := func(s *Sim) {
		t.Helper()
		if got := s.Disks(); !slices.Equal(got, before) {
			t.Errorf("disks are %+v, want %+v", got, before)
		}
		if got := s.Files(); !slices.Equal(got, files) {
			t.Errorf("files are %+v, want %+v", got, files)
		}
		if string(s.Certificate()) != string(cert) {
			t.Error("certificate is another")
		}
	}
	check(s)
	if !s.boot().since.After(on) {
		t.Error("the uptime goes on")
	}
	if s.APIAddr() != addr {
		t.Errorf("API is at %s, was at %s", s.APIAddr(), addr)
	}
	if id := login(t, s).add("vm-3"); id != "*4" {
		t.Errorf("next disk is %s, want *4", id)
	}
	login(t, s).must("/disk/remove", "=numbers=vm-3")
	login(t, s).must("/file/remove", "=numbers=raid10/vm-3.img")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(start(t, cfg))
}

// TestFilePath shows that no path leads out of the pool.
func TestFilePath(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{Dir: dir})
	c := login(t, s)
	for _, path := range []string{
		"/raid10", "/raid10/", "raid10/../x", "/raid10/../../x", "/etc/x", "//raid10/x", "/raid10//x", "/raid10/./x",
		"/raid10/a/../x", "/raid10/x\x00", "/raid10/" + strings.Repeat("x", 256), "/raid11/x", "..", "/raid10/x/",
	} {
		c.refused("failure: ", addWords("vm", "=file-path="+path)...)
		c.refused("failure: ", "/file/add", "=type=directory", "=name="+path)
	}
	c.refused("failure: ", "/file/remove", "=numbers=raid10")
	c.add("vm", "=file-path=raid10/a/b/x.img")
	if got := c.disk("vm")["file-path"]; got != "/raid10/a/b/x.img" {
		t.Errorf("file-path is %s", got)
	}
	c.refused("failure: ", "/file/remove", "=numbers=raid10/a")
	c.refused("failure: ", addWords("vm2", "=file-path=/raid10/a")...)
	c.refused("failure: ", addWords("vm2", "=file-path=/raid10/a/b/x.img/y")...)
	c.must("/file/add", "=type=directory", "=name=raid10/new")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains([]string{"config.json", "config.log", "files", hostKeyFile, "tls.crt", "tls.key"}, e.Name()) {
			t.Errorf("the box's directory holds %s", e.Name())
		}
	}
}

// TestFilePrint shows that a print walks the tree, and is counted.
func TestFilePrint(t *testing.T) {
	s := start(t, Config{})
	c := login(t, s)
	c.add("vm", "=file-path=/raid10/a/x.img")
	var names []string
	rows, _ := c.must("/file/print", "=.proplist=name,type")
	for _, r := range rows {
		names = append(names, r["name"]+" "+r["type"])
	}
	if want := []string{"raid10 directory", "raid10/a directory", "raid10/a/x.img file"}; !slices.Equal(names, want) {
		t.Errorf("files are %q, want %q", names, want)
	}
	if got, want := s.Commands(), map[string]int{"/login": 1, "/disk/add": 1, "/file/print": 1}; !maps.Equal(got, want) {
		t.Errorf("commands are %v, want %v", got, want)
	}
}
