// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package initrd

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where Debian's packages have programs and libraries, most likely first.
var (
	programDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"}
)

// A tree is a folder into which packages were unpacked.
type tree struct{ root string }

// find returns the path of a file, as in the tree's own root, in one of its folders.
func (t tree) find(name string, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(filepath.Join(t.root, path)); err == nil {
			return path, nil
		}
		// A link with an absolute target leads out of the tree.
		if target, err := os.Readlink(filepath.Join(t.root, path)); err == nil && filepath.IsAbs(target) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no package has %s in %s: %w", name, strings.Join(dirs, " or "), fs.ErrNotExist)
}

// read returns what a file holds, behind links.
func (t tree) read(path string) ([]byte, error) {
	if target, err := os.Readlink(filepath.Join(t.root, path)); err == nil && filepath.IsAbs(target) {
		return t.read(target)
	}
	return os.ReadFile(filepath.Join(t.root, path))
}

// needs returns the paths of the shared libraries that programs need, with the loader.
func (t tree) needs(programs ...string) ([]string, error) {
	var paths []string
	queue := slices.Clone(programs)
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		names, err := t.direct(path)
		if err != nil {
			return nil, fmt.Errorf("look for the libraries of %s: %w", path, err)
		}
		for _, name := range names {
			lib := name
			if !filepath.IsAbs(lib) {
				if lib, err = t.find(name, libraryDirs); err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
			}
			if !slices.Contains(paths, lib) {
				paths = append(paths, lib)
				queue = append(queue, lib)
			}
		}
	}
	return paths, nil
}

// direct returns the names of the libraries that a program or a library names itself, and the path of its loader.
func (t tree) direct(path string) (names []string, err error) {
	if target, err := os.Readlink(filepath.Join(t.root, path)); err == nil && filepath.IsAbs(target) {
		return t.direct(target)
	}
	f, err := elf.Open(filepath.Join(t.root, path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if names, err = f.ImportedLibraries(); err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		loader := make([]byte, p.Filesz)
		if _, err := p.ReadAt(loader, 0); err != nil {
			return nil, err
		}
		names = append(names, strings.TrimRight(string(loader), "\x00"))
	}
	return names, nil
}
