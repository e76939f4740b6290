// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A store is what the box keeps through a power-off: a directory with the pool's files and the
// configuration. What changes it is for one goroutine at a time.
type store struct {
	dir  string
	root *os.Root // of the pools' files: no name leads out of it

	log        *os.File // of changes of the configuration
	logged     int64    // bytes in it
	torn       bool     // the log may end within a line
	generation uint64   // of the configuration that was last written whole
	whole      int64    // bytes of it
	history    []past   // what was saved since the power came on
}

// openStore opens or makes the directory.
func openStore(dir, pool string) (*store, error) {
	files := filepath.Join(dir, "files")
	if err := os.MkdirAll(filepath.Join(files, pool), 0o700); err != nil {
		return nil, fmt.Errorf("make the box's directory: %w", err)
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return nil, fmt.Errorf("open the box's directory: %w", err)
	}
	s := &store{dir: dir, root: root}
	if err := s.openLog(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *store) close() error { return errors.Join(s.root.Close(), s.log.Close()) }

// load reads the configuration and walks the files.
func (s *store) load() (table, error) {
	c, err := s.loadConfig()
	if err != nil {
		return table{}, err
	}
	t := table{next: c.Next, disks: c.Disks, files: files{}}
	err = s.walk(func(name string, info fs.FileInfo) {
		f := file{dir: info.IsDir()}
		if !f.dir {
			f.size = info.Size()
		}
		t.files[name] = f
	})
	t.used = t.files.used()
	return t, err
}

// walk calls each for every file and directory of the pools, by ascending path.
func (s *store) walk(each func(name string, info fs.FileInfo)) error {
	err := fs.WalkDir(s.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since its directory was read
		}
		if err != nil {
			return err
		}
		if name == "." || !e.IsDir() && !e.Type().IsRegular() {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			each(name, info)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("walk the box's files: %w", err)
	}
	return nil
}

// apply makes the directory's files those of next, where it differs from old.
func (s *store) apply(old, next files) error {
	var names []string
	for name, f := range next {
		if was, ok := old[name]; !ok || was != f {
			names = append(names, name)
		}
	}
	slices.Sort(names) // a directory comes before what is in it
	for _, name := range names {
		was, exists := old[name]
		if err := s.put(name, was, exists, next[name]); err != nil {
			return fmt.Errorf("write the box's file %q: %w", name, err)
		}
	}
	names = names[:0]
	for name := range old {
		if _, ok := next[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		if err := s.root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the box's file %q: %w", name, err)
		}
	}
	return nil
}

// put makes one file what f says. It is sparse where nobody wrote.
func (s *store) put(name string, was file, exists bool, f file) error {
	if f.dir {
		if err := s.root.Mkdir(filepath.FromSlash(name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	h, err := s.root.OpenFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if !exists || was.made != f.made {
		err = h.Truncate(0)
	}
	return errors.Join(err, h.Truncate(f.size), h.Close())
}
