// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
)

// A Sight is what a node shows of one volume.
type Sight struct {
	// Connections are those of subsystems whose NQN names the volume, by NQN, in whatever state. The paths
	// of their devices are bare names.
	Connections []Connection
	// Entries are what is at the paths that were asked for, in their order.
	Entries []Entry
	// Err says why the volume could not be looked at. The other fields then hold nothing.
	Err error
}

// Survey looks at many volumes at once, each with paths where it should be seen. It reads sysfs and the list
// of mounts once, asks no target and waits for no device. Should the kernel block all the same, it answers
// ErrUnresolved when ctx ends, and a repeat joins the look under way.
func (m *Mounts) Survey(ctx context.Context, volumes map[actors.VolumeID][]string) (map[actors.VolumeID]Sight, error) {
	key := "look at the volumes of this node"
	if len(volumes) == 1 {
		for id, paths := range volumes {
			key = fmt.Sprintf("look at volume %s at %q", id, paths)
		}
	}
	return share(ctx, &m.calls, key, func() (map[actors.VolumeID]Sight, error) { return m.survey(volumes) })
}

func (m *Mounts) survey(volumes map[actors.VolumeID][]string) (map[actors.VolumeID]Sight, error) {
	found, err := m.sys.connections(func(nqn string) bool {
		_, ok := volumes[volumeOf(nqn)]
		return ok
	})
	if err != nil {
		return nil, err
	}
	// The list of mounts comes second: a device that went in between shows as gone, not its mount as sound.
	mounts, err := m.mounted()
	if err != nil {
		return nil, err
	}
	sights := make(map[actors.VolumeID]Sight, len(volumes))
	for id, paths := range volumes {
		sights[id] = m.sight(paths, mounts)
	}
	for nqn, sub := range found {
		id := volumeOf(nqn)
		s := sights[id]
		if c, ok := connection(nqn, sub); ok && s.Err == nil {
			s.Connections = append(s.Connections, c)
			sights[id] = s
		}
	}
	for _, s := range sights {
		slices.SortFunc(s.Connections, func(a, b Connection) int { return strings.Compare(a.NQN, b.NQN) })
	}
	return sights, nil
}

// volumeOf returns the volume that an NQN names, if it is a volume's.
func volumeOf(nqn string) actors.VolumeID {
	id, _, _ := strings.Cut(nqn[strings.LastIndexByte(nqn, ':')+1:], ".")
	return actors.VolumeID(id)
}

func (m *Mounts) sight(paths []string, mounts map[string][]mountPoint) Sight {
	s := Sight{Entries: make([]Entry, len(paths))}
	for i, p := range paths {
		resolved, err := realPath(p)
		if err == nil && resolved != "" {
			s.Entries[i], err = m.entry(p, resolved, mounts[resolved])
		}
		if err != nil {
			return Sight{Err: err}
		}
	}
	return s
}

// mounted returns all mounts by their paths, the topmost last.
func (m *Mounts) mounted() (map[string][]mountPoint, error) {
	all, err := readMounts(filepath.Join(m.cfg.Proc, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, actors.ErrUnavailable)
	}
	mounts := make(map[string][]mountPoint, len(all))
	for _, mp := range all {
		mounts[mp.path] = append(mounts[mp.path], mp)
	}
	return mounts, nil
}

// failure says what is wrong with a mounted filesystem. The kernel's list of mounts goes on to say "rw" of an
// ext4 without its device, and, from Linux 6.12 on and in maintained older ones such as Debian's 6.1, also of one
// that an error made read-only; 6.15 and later add "emergency_ro" and "shutdown". The count of errors is kept by
// ext4 since the last fsck that found any. An xfs that is shut down refuses to be looked at. An ext4 that a person
// shuts down while its device is there shows nothing of it before 6.15.
func (m *Mounts) failure(mp mountPoint, statErr error) string {
	switch {
	case hasOption(mp.super, "shutdown"):
		return "was shut down by an error"
	case hasOption(mp.super, "emergency_ro"):
		return "was made read-only by an error"
	case hasOption(mp.super, "ro") && !hasOption(mp.own, "ro"):
		return "has become read-only beneath a mount for writing"
	case statErr != nil:
		return fmt.Sprintf("cannot be looked at (%v)", statErr)
	case mp.fstype != "ext4":
		return ""
	}
	count, ok, err := m.sys.attr("fs", "ext4", path.Base(mp.source), "errors_count")
	if err != nil || !ok || count == "0" {
		return "" // the kernel has no such count, or it is another filesystem's
	}
	return fmt.Sprintf("has had %s errors since it was last checked", count)
}

// BootID identifies this run of the machine, by procfs, whose path is "" for /proc.
func BootID(proc string) (string, error) {
	if proc == "" {
		proc = "/proc"
	}
	data, err := os.ReadFile(filepath.Join(proc, "sys", "kernel", "random", "boot_id"))
	if err != nil {
		return "", fmt.Errorf("read the machine's boot ID: %w: %w", err, actors.ErrUnavailable)
	}
	return strings.TrimSpace(string(data)), nil
}
