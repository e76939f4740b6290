// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package initrd

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// A cpio writes an archive as the kernel unpacks it (Linux, driver-api/early-userspace/buffer-format). Directories are
// made as they are needed. It remembers the first error, which close returns.
type cpio struct {
	w    io.Writer
	ino  int
	has  map[string]bool // paths, without a leading slash
	fail error
}

// The types of files, as in st_mode.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

func newCPIO(w io.Writer) *cpio { return &cpio{w: w, has: map[string]bool{".": true}} }

// file adds a file that can be executed. One that is there already stays.
func (c *cpio) file(name string, data []byte) { c.add(name, modeFile|0o755, data) }

// dir adds a directory, with those that it is in.
func (c *cpio) dir(name string) { c.add(name, modeDir|0o755, nil) }

func (c *cpio) add(name string, mode int, data []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if c.has[name] {
		return
	}
	c.has[name] = true
	if parent := path.Dir(name); !c.has[parent] {
		c.dir(parent)
	}
	c.ino++
	c.entry(name, mode, data)
}

// entry writes one file, with its parts aligned to 4 bytes.
func (c *cpio) entry(name string, mode int, data []byte) {
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	c.write([]byte(header))
	c.pad(len(header))
	c.write(data)
	c.pad(len(data))
}

func (c *cpio) pad(n int) { c.write(make([]byte, -n&3)) }

func (c *cpio) write(p []byte) {
	if c.fail == nil {
		_, c.fail = c.w.Write(p)
	}
}

// close ends the archive.
func (c *cpio) close() error {
	c.ino = 0
	c.entry("TRAILER!!!", 0, nil)
	return c.fail
}
