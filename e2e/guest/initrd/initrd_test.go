// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package initrd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An entry is what the kernel reads of an archive.
type entry struct {
	name string
	mode uint64
	data string
}

// unpack reads an archive as the kernel does.
func unpack(t *testing.T, archive []byte) []entry {
	t.Helper()
	var list []entry
	for at := 0; ; {
		const header = 110
		number := func(i int) int {
			n, err := strconv.ParseUint(string(archive[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		if string(archive[at:at+6]) != "070701" {
			t.Fatalf("no entry begins at %d", at)
		}
		mode, size, length := number(1), number(6), number(11)
		name := string(archive[at+header : at+header+length-1])
		data := (at + header + length + 3) &^ 3
		if name == "TRAILER!!!" {
			return list
		}
		list = append(list, entry{name, uint64(mode), string(archive[data : data+size])})
		at = (data + size + 3) &^ 3
	}
}

func TestArchivesAreReadAsTheyWereMade(t *testing.T) {
	var buf bytes.Buffer
	c := newCPIO(&buf)
	c.file("/init", []byte("agent"))
	c.dir("dev")
	c.file("/usr/bin/mount", []byte("four"))
	c.file("usr//bin/mount", []byte("again"))
	c.file("/usr/bin/empty", nil)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"init", 0o100755, "agent"},
		{"dev", 0o040755, ""},
		{"usr", 0o040755, ""},
		{"usr/bin", 0o040755, ""},
		{"usr/bin/mount", 0o100755, "four"},
		{"usr/bin/empty", 0o100755, ""},
	}
	if got := unpack(t, buf.Bytes()); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestWhatModulesNeedIsRead(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=nvme-fabrics,nvme-core\x00retpoline=Y\x00": {"nvme-fabrics", "nvme-core"},
		"depends=\x00": nil,
		"license=GPL\x00description=what it depends=on\x00": nil,
	} {
		if got := parseNeeds([]byte(info)); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", info, got, want)
		}
	}
}

func TestModulesThatAreMissingAreTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/fs/ext4/ext4.ko\nkernel/drivers/nvme/host/nvme-core.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ms, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := ms.order("ext4", "nvme_core"); err != nil || len(list) > 0 {
		t.Fatalf("what is built in: %v, %v", list, err)
	}
	if _, err := ms.order("nvme-tcp"); err == nil || !strings.Contains(err.Error(), "nvme_tcp") {
		t.Fatal("what is not there:", err)
	}
}

// TestProgramsComeWithTheirLibraries takes this machine's own programs for a tree of packages.
func TestProgramsComeWithTheirLibraries(t *testing.T) {
	machine := tree{"/"}
	program, err := machine.find("ls", programDirs)
	if err != nil {
		t.Skip("this machine has no ls:", err)
	}
	if _, err := machine.find("libc.so.6", libraryDirs); err != nil {
		t.Skip("this machine is no Debian:", err)
	}
	libraries, err := machine.needs(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/libc.so.6", "/ld-linux-x86-64.so.2"} {
		if !slices.ContainsFunc(libraries, func(path string) bool { return strings.HasSuffix(path, want) }) {
			t.Errorf("%s comes without %s: %v", program, want, libraries)
		}
	}
	for _, library := range libraries {
		names, err := machine.direct(library)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !slices.ContainsFunc(libraries, func(path string) bool { return filepath.Base(path) == filepath.Base(name) }) {
				t.Errorf("%s comes without %s, which %s needs", program, name, library)
			}
		}
	}
	if _, err := machine.find("no-such-program", programDirs); err == nil {
		t.Error("what is not there was found")
	}
}
