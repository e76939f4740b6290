// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// maxRead is how much of a file is sent, in bytes.
const maxRead = 4 << 20

func readFile(_ context.Context, p api.Path) (c api.Content, err error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxRead))
	return api.Content{Path: p.Path, Data: data}, err
}

func writeFile(_ context.Context, c api.Content) (nothing, error) {
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
		return nothing{}, err
	}
	return nothing{}, os.WriteFile(c.Path, c.Data, 0o600)
}

func makeDir(_ context.Context, p api.Path) (nothing, error) {
	return nothing{}, os.MkdirAll(p.Path, 0o755)
}

func list(_ context.Context, p api.Path) (api.Names, error) {
	names := api.Names{Names: []string{}}
	entries, err := os.ReadDir(p.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return names, err
	}
	for _, e := range entries {
		names.Names = append(names.Names, e.Name())
	}
	return names, nil
}

func stat(_ context.Context, p api.Path) (s api.Stats, err error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	s = api.Stats{Mode: info.Mode().String(), Size: info.Size()}
	if info.Mode().Type() != fs.ModeDevice {
		return s, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return s, fmt.Errorf("look at %s: %w", p.Path, err)
	}
	s.Major, s.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	s.Size, err = f.Seek(0, io.SeekEnd)
	return s, err
}
