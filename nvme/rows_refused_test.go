// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package nvme_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/csi/csitest"
	"github.com/rds-csi/rds-csi/nvme"
)

// fails makes the kernel answer a connect with an error number.
func fails(errno syscall.Errno) func(r *row) {
	return func(r *row) {
		r.fabrics = func(string) error { return nvme.ConnectError(&os.PathError{Op: "write", Err: errno}) }
	}
}

// noFabrics takes the fabrics device away, or puts a file in its place.
func noFabrics(file bool) func(r *row) {
	return func(r *row) {
		if file {
			r.write("dev/nvme-fabrics", "")
		}
		d, err := nvme.NewDevices(nvme.Config{Sys: r.path("sys"), Dev: r.path("dev"), Proc: r.path("proc"), Kernel: r, Prober: r})
		wantKind(r, err, nil)
		r.driver = d
		r.restart(time.Minute)
	}
}

// TestRowRefused: what cannot be staged has the right code and words that help, and leaves the node
// as it was, at once where the code says so and else after the unstage that it asks for.
func TestRowRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *row)
		code  string
		words string
	}{
		"host not allowed": {func(r *row) { fails(syscall.EIO)(r); r.admits = nvme.ErrHostRefused }, "FailedPrecondition", host.NQN},
		"unknown NQN":      {func(r *row) { fails(syscall.EIO)(r); r.admits = nvme.ErrNotExported }, "Unavailable", "does not export"},
		"refused, no more": {fails(syscall.EIO), "Unavailable", "would let it in"},
		"refused, unclear": {func(r *row) { fails(syscall.EIO)(r); r.admits = errors.New("who knows") }, "Unavailable", "who knows"},
		"refused port":     {fails(syscall.ECONNREFUSED), "Unavailable", "cannot be reached"},
		"no module":        {fails(syscall.EINVAL), "FailedPrecondition", "module nvme-tcp"},
		"option refused": {func(r *row) {
			r.write("sys/module/nvme_tcp/parameters/so_priority", "0\n")
			fails(syscall.EINVAL)(r)
		}, "FailedPrecondition", "another host NQN"},
		"no fabrics device":         {noFabrics(false), "FailedPrecondition", "module nvme-tcp"},
		"file as fabrics device":    {noFabrics(true), "FailedPrecondition", "not a character device"},
		"smaller than published":    {func(r *row) { r.Size = rowSize + 4096 }, "FailedPrecondition", "smaller than the volume"},
		"another volume's NQN":      {func(r *row) { r.NQN = other }, "InvalidArgument", "does not name volume"},
		"another node's host":       {func(r *row) { r.Host.ID = strings.Repeat("0", 8) + r.Host.ID[8:] }, "FailedPrecondition", "published for host"},
		"unknown filesystem":        {func(r *row) { r.FS = "btrfs" }, "InvalidArgument", "btrfs"},
		"another filesystem":        {func(r *row) { onConnect(r, func() { r.holds("xfs") }) }, "FailedPrecondition", "left alone"},
		"data of unknown kind":      {func(r *row) { onConnect(r, func() { r.holds("start"); r.blkid("") }) }, "FailedPrecondition", "left alone"},
		"staging path is a file":    {func(r *row) { r.remove("staging"); r.write("staging", "precious") }, "FailedPrecondition", "not a directory"},
		"staging path is not there": {func(r *row) { r.remove("staging") }, "FailedPrecondition", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, multipath := range []bool{false, true} {
				r := newRow(t, multipath, "ext4")
				c.spoil(r)
				for range 2 {
					err := r.Stage(t.Context())
					if got := csitest.Code(err); got != c.code || !strings.Contains(err.Error(), c.words) {
						t.Fatalf("%s (%v), want %s with %q", got, err, c.code, c.words)
					}
					if c.code == "Unavailable" {
						r.do("OK", r.Unstage)
					}
					r.wantAsItWas()
				}
				if r.ran("mkfs") || r.ran("mount") {
					t.Errorf("ran %q", r.commands)
				}
				if data, err := os.ReadFile(r.path("staging")); err == nil && string(data) != "precious" {
					t.Errorf("the file at the staging path became %q", data)
				}
			}
		})
	}
}

// onConnect does something as soon as the kernel has connected the volume.
func onConnect(r *row, f func()) {
	r.fabrics = func(string) error {
		r.connected("nvme0", "nvme0n1", num1)
		f()
		return nil
	}
}

// TestRowAskedWhenAlone: a Connect as the host might end a connection that it has, so the target is
// asked for its reasons only when there is none.
func TestRowAskedWhenAlone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		r := newRow(t, false, "")
		r.fabrics = func(string) error {
			if !alone {
				r.controller("nvme0", nqn, host.NQN, "connecting")
			}
			return nvme.ConnectError(syscall.EIO)
		}
		r.do("Unavailable", r.Stage)
		var want []string
		if alone {
			want = []string{"connect 192.0.2.1:4421 " + host.NQN + " " + nqn}
		}
		if !slices.Equal(r.probes, want) {
			t.Errorf("asked the target %q, want %q", r.probes, want)
		}
	}
}

// TestRowRefusedOnWhatWasThere: a stage that fails takes nothing away that it did not bring.
func TestRowRefusedOnWhatWasThere(t *testing.T) {
	for name, before := range map[string]func(r *row){
		"of the older driver": func(*row) {},
		"staged":              func(r *row) { r.do("OK", r.Stage) },
		"published":           func(r *row) { r.do("OK", r.Stage, r.Publish) },
	} {
		t.Run(name, func(t *testing.T) {
			rows(t, func(t *testing.T, r *row) {
				r.connected("nvme0", "nvme0n1", num1)
				before(r)
				r.Size = rowSize + 4096
				r.do("FailedPrecondition", r.Stage)
				if !r.exists("sys/class/nvme/nvme0") {
					t.Error("cut off what was there before")
				}
				if name == "published" {
					r.wantAs(num1)
				}
			})
		})
	}
}
