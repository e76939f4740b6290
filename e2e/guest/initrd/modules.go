// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package initrd

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A module is a file of a kernel's module.
type module struct {
	name string // with underscores
	path string
}

// modules are those of one kernel.
type modules struct {
	paths   map[string]string // by name
	builtin map[string]bool   // in the kernel itself, by name
}

// moduleName is the name of the module in a file; a hyphen and an underscore are the same in it.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// findModules finds what is below lib/modules/RELEASE.
func findModules(dir string) (modules, error) {
	ms := modules{paths: map[string]string{}, builtin: map[string]bool{}}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return ms, fmt.Errorf("look for modules: %w", err)
	}
	for line := range strings.FieldsSeq(string(text)) {
		ms.builtin[moduleName(line)] = true
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			ms.paths[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return ms, fmt.Errorf("look for modules: %w", err)
	}
	return ms, nil
}

// order returns the modules that are wanted and those that they need, each after what it needs.
func (ms modules) order(wanted ...string) ([]module, error) {
	var list []module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = moduleName(name)
		if seen[name] || ms.builtin[name] {
			return nil
		}
		seen[name] = true
		path, ok := ms.paths[name]
		if !ok {
			return fmt.Errorf("there is no module %s", name)
		}
		needs, err := moduleNeeds(path)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := add(need); err != nil {
				return fmt.Errorf("%s needs it: %w", name, err)
			}
		}
		list = append(list, module{name, path})
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// moduleNeeds returns the names of the modules that one needs directly.
func moduleNeeds(path string) (needs []string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s does not tell what it needs", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	return parseNeeds(info), nil
}

// parseNeeds reads a module's information: texts that end with a NUL, one of which may be depends=a,b.
func parseNeeds(info []byte) []string {
	for text := range bytes.SplitSeq(info, []byte{0}) {
		if names, ok := bytes.CutPrefix(text, []byte("depends=")); ok && len(names) > 0 {
			return strings.Split(string(names), ",")
		}
	}
	return nil
}
