// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A store is what the box keeps through a power-off: a directory with the pool's files and the
// configuration. What changes it is for one goroutine at a time.
type store struct {
	dir  string
	root *os.Root // of the pools' files: no name leads out of it

	// encoded are the rows as they were last saved. A table of a thousand rows is saved at each change
	// of one.
	encoded map[diskID]encodedDisk
}

// An encodedDisk is a row and its JSON.
type encodedDisk struct {
	disk disk
	json []byte
}

// saved is the configuration as it is written.
type saved struct {
	Next  diskID `json:"next"`
	Disks []disk `json:"disks"`
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
	return &store{dir: dir, root: root, encoded: map[diskID]encodedDisk{}}, nil
}

func (s *store) close() error { return s.root.Close() }

// load reads the configuration and walks the files.
func (s *store) load() (table, error) {
	t := table{next: poolID + 1, files: files{}}
	b, err := os.ReadFile(s.config())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return t, fmt.Errorf("read the box's configuration: %w", err)
	default:
		var c saved
		if err := json.Unmarshal(b, &c); err != nil {
			return t, fmt.Errorf("read the box's configuration %s: %w", s.config(), err)
		}
		t.next, t.disks = max(t.next, c.Next), c.Disks
	}
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

// save writes the configuration, whole or not at all.
func (s *store) save(t table) error {
	b, err := s.encode(t)
	if err != nil {
		return fmt.Errorf("encode the box's configuration: %w", err)
	}
	draft := s.config() + ".new"
	if err := os.WriteFile(draft, b, 0o600); err != nil {
		return fmt.Errorf("write the box's configuration: %w", err)
	}
	if err := os.Rename(draft, s.config()); err != nil {
		return fmt.Errorf("write the box's configuration: %w", err)
	}
	return nil
}

// encode returns the JSON of a saved with a row on each line.
func (s *store) encode(t table) ([]byte, error) {
	b := fmt.Appendf(nil, "{\"next\": %d, \"disks\": [", t.next)
	for i, d := range t.disks {
		e := s.encoded[d.ID]
		if e.disk != d {
			row, err := json.Marshal(d)
			if err != nil {
				return nil, err
			}
			e = encodedDisk{d, row}
			s.encoded[d.ID] = e
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, '\n'), e.json...)
	}
	if len(s.encoded) > len(t.disks) {
		maps.DeleteFunc(s.encoded, func(id diskID, _ encodedDisk) bool { return t.row(id) < 0 })
	}
	return append(b, "\n]}\n"...), nil
}

func (s *store) config() string { return filepath.Join(s.dir, "config.json") }

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
