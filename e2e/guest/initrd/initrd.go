// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package initrd

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Config says what is in the file system. Kernel and Agent are required.
type Config struct {
	Kernel   string            // folder into which the kernel's package was unpacked, its modules not compressed
	Modules  []string          // the modules that are wanted; those that they need come with them
	Tools    string            // folder into which the packages of the programs were unpacked
	Programs []string          // names of programs; their libraries come with them
	Config   []string          // paths of more files of these packages
	Agent    string            // the program that is the first process
	Files    map[string]string // more files: where they are in the guest, and here
}

// Image returns the path of the kernel in the folder of its package.
func Image(kernel string) (string, error) {
	return only(filepath.Join(kernel, "boot", "vmlinuz-*"))
}

// only returns the one path of a pattern.
func only(pattern string) (string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(paths) != 1 {
		return "", fmt.Errorf("%s is %d files and not one", pattern, len(paths))
	}
	return paths[0], nil
}

// Write writes the file system to a file.
func Write(cfg Config, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the initrd: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := bufio.NewWriterSize(f, 1<<20)
	archive := newCPIO(buf)
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "var", "etc", "root"} {
		archive.dir(dir)
	}
	if err := errors.Join(addModules(archive, cfg), addPrograms(archive, cfg), addFiles(archive, cfg)); err != nil {
		return fmt.Errorf("write the initrd: %w", err)
	}
	if err := errors.Join(archive.close(), buf.Flush()); err != nil {
		return fmt.Errorf("write the initrd: %w", err)
	}
	return nil
}

// addModules adds the modules, and /etc/modules with their paths in the order in which they are loaded.
func addModules(archive *cpio, cfg Config) error {
	dir, err := only(filepath.Join(cfg.Kernel, "lib", "modules", "*"))
	if err != nil {
		return err
	}
	ms, err := findModules(dir)
	if err != nil {
		return err
	}
	list, err := ms.order(cfg.Modules...)
	if err != nil {
		return err
	}
	var order strings.Builder
	for _, m := range list {
		data, err := os.ReadFile(m.path)
		if err != nil {
			return err
		}
		name := "/lib/modules/" + m.name + ".ko"
		archive.file(name, data)
		order.WriteString(name + "\n")
	}
	archive.file("/etc/modules", []byte(order.String()))
	return nil
}

// addPrograms adds the programs and their libraries.
func addPrograms(archive *cpio, cfg Config) error {
	t := tree{cfg.Tools}
	var paths []string
	for _, name := range cfg.Programs {
		path, err := t.find(name, programDirs)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	libraries, err := t.needs(paths...)
	if err != nil {
		return err
	}
	for _, path := range slices.Concat(paths, libraries, cfg.Config) {
		data, err := t.read(path)
		if err != nil {
			return err
		}
		archive.file(path, data)
	}
	return nil
}

func addFiles(archive *cpio, cfg Config) error {
	files := maps.Clone(cfg.Files)
	if files == nil {
		files = map[string]string{}
	}
	files["/init"] = cfg.Agent
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		archive.file(name, data)
	}
	return nil
}
