// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// rowProperties are what is read of a row of /disk.
var rowProperties = []string{
	".id", "type", "slot", "disabled", "comment", "file-path", "file-size", "size", "free", "mount-point", "state", "fs",
	"nvme-tcp-export", "nvme-tcp-server-port", "nvme-tcp-server-nqn", "nvme-tcp-server-allow-host-name",
}

// disks looks at the pool and what is on it.
func (e *examination) disks(ctx context.Context) {
	e.cfg.Progress("listing the disks")
	rows, err := e.reader.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		e.failed("disks", Fail, err)
		return
	}
	e.rows = rows
	for _, r := range rows {
		if r.Get("type") == "file" || r.Get("mount-point") != "" {
			e.report.Rows = append(e.report.Rows, Row{
				ID: r.Get(".id"), Type: r.Get("type"), Slot: r.Get("slot"), File: r.Get("file-path"), Size: or(r.Get("file-size"), r.Get("size")),
				Free: r.Get("free"), State: r.Get("state"), MountPoint: r.Get("mount-point"), Export: r.Get("nvme-tcp-export"),
				Port: r.Get("nvme-tcp-server-port"), NQN: r.Get("nvme-tcp-server-nqn"),
				AllowHost: r.Get("nvme-tcp-server-allow-host-name"), Comment: r.Get("comment"),
			})
		}
	}
	for _, p := range e.cfg.Box.VolumePaths {
		e.pool(p)
	}
	e.volumes()
	e.leftovers()
}

// poolOf returns the disk that a path is mounted from: of several the innermost.
func poolOf(rows []routeros.Row, volumePath string) routeros.Row {
	var found routeros.Row
	longest := 0
	for _, r := range rows {
		mount := strings.Trim(r.Get("mount-point"), "/")
		if mount != "" && strings.HasPrefix(volumePath+"/", "/"+mount+"/") && len(mount) > longest {
			found, longest = r, len(mount)
		}
	}
	return found
}

// pool looks at what a volume path lies on.
func (e *examination) pool(volumePath string) {
	name := "pool of " + volumePath
	r := poolOf(e.rows, volumePath)
	if r == nil {
		e.report.check(name, Fail, "no disk is mounted there", "mount the pool, or name where it is (--volume-path)")
		return
	}
	state := r.Get("state")
	seen := fmt.Sprintf("%s %q, %s, state %q", r.Get("type"), r.Get("slot"), or(r.Get("fs"), "no file system"), state)
	switch {
	case state == "" || state == "clean":
		e.report.check(name, OK, seen, "")
	case strings.Contains(state, "clean"):
		e.report.check(name, Warn, seen, "it works; wait for the end of what it does before you test or measure")
	default:
		e.report.check(name, Fail, seen, "mend the pool: see /disk/print detail on the box")
	}
	e.freeSpace(volumePath, r)
}

func (e *examination) freeSpace(volumePath string, r routeros.Row) {
	name := "free space of " + volumePath
	free, err := strconv.ParseInt(r.Get("free"), 10, 64)
	size, err2 := strconv.ParseInt(r.Get("size"), 10, 64)
	if err = errors.Join(err, err2); err != nil || size <= 0 {
		e.report.check(name, Warn, fmt.Sprintf("free %q of %q", r.Get("free"), r.Get("size")), "the box tells its room in another form than the driver reads")
		return
	}
	seen := fmt.Sprintf("%s of %s", bytesText(free), bytesText(size))
	switch {
	case free == 0:
		e.report.check(name, Fail, seen, "make room: no volume can be made or grow")
	case free < size/10:
		e.report.check(name, Warn, seen, "make room before guests' writes fail, where files are sparse")
	default:
		e.report.check(name, OK, seen, "")
	}
}

// slotLimit is the longest slot that is known to work everywhere, in bytes.
const slotLimit = 32

// volumes looks at the rows that hold volumes.
func (e *examination) volumes() {
	var ours, others, foreign, damaged int
	var long []string
	for _, r := range e.rows {
		if r.Get("type") != "file" {
			continue
		}
		ledger, owned, err := actors.ParseLedger(r.Get("comment"))
		switch {
		case err != nil:
			damaged++
		case owned && e.cfg.Box.Cluster != "" && ledger.Cluster != e.cfg.Box.Cluster:
			foreign++
		case owned:
			ours++
		default:
			others++
		}
		if slot := r.Get("slot"); len(slot) > slotLimit {
			long = append(long, slot)
		}
	}
	whose := "of a cluster"
	if e.cfg.Box.Cluster != "" {
		whose = "of this cluster"
	}
	seen := fmt.Sprintf("%d volumes %s, %d of other clusters, %d other file disks", ours, whose, foreign, others)
	if damaged > 0 {
		e.report.check("volumes", Fail, fmt.Sprintf("%s, %d with a damaged ledger", seen, damaged), "look at their comments: the driver leaves them alone until they are restored")
	} else {
		e.report.check("volumes", OK, seen, "")
	}
	if len(long) > 0 {
		slices.Sort(long)
		e.report.check("slots", Warn, fmt.Sprintf("%d longer than %d bytes, such as %.80q", len(long), slotLimit, long[0]), "they work as long as this box takes them; one source says that it should not")
		return
	}
	e.report.check("slots", OK, fmt.Sprintf("none is longer than %d bytes", slotLimit), "")
}

// leftovers looks for what an experiment has left.
func (e *examination) leftovers() {
	if left := scratchRows(e.rows, e.cfg.Box.VolumePaths); len(left) > 0 {
		e.report.check("scratch disks", Warn, fmt.Sprintf("%d of an earlier write test, such as %q", len(left), left[0].slot), "run doctor with --write-test, which offers to remove them")
	}
}

// exports looks whether hosts could connect.
func (e *examination) exports(ctx context.Context) {
	const name, most = "NVMe/TCP port", 8
	var ports []string
	for _, r := range e.rows {
		port := or(r.Get("nvme-tcp-server-port"), "4420")
		if r.Get("type") == "file" && yes(r.Get("nvme-tcp-export")) && !yes(r.Get("disabled")) && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		e.report.check(name, Skipped, "nothing is exported", "the write test exports a disk of its own and connects to it")
		return
	}
	e.cfg.Progress("probing the ports of exports")
	for i, port := range ports {
		if i == most {
			e.report.check(name, Skipped, fmt.Sprintf("%d more ports", len(ports)-most), "")
			return
		}
		e.probe(ctx, name, net.JoinHostPort(e.cfg.NVMeAddress, port))
	}
}

// probe asks whether NVMe/TCP is spoken at an address, without a command.
func (e *examination) probe(ctx context.Context, name, address string) {
	ctx, cancel := bounded(ctx, e.cfg.Box)
	defer cancel()
	err := e.cfg.Initiator.Probe(ctx, address)
	switch {
	case err == nil:
		e.report.check(name, OK, address+" answers", "")
	case errors.Is(err, syscall.ECONNREFUSED):
		e.report.check(name, Fail, address+" refuses connections although a disk is exported there", "look at the disk on the box; it may have come up late")
	default:
		e.report.check(name, Fail, err.Error(), "check --nvme-address, and firewalls between this machine and the box: nodes need the same way")
	}
}

func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// within reports whether a file lies in one of some directories, itself and not below it.
func within(file string, directories []string) bool {
	return slices.Contains(directories, path.Dir(file))
}
