// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"errors"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	judgedVolume = actors.VolumeID("pvc-aaaaaaaa-0000-4000-8000-000000000001")
	judgedNQN    = actors.DefaultNQNPrefix + ":" + string(judgedVolume) + ".m0abc123"
)

var (
	dev1 = nvme.Device{Path: "nvme0n1", Num: nvme.DevNum{Major: 259, Minor: 1}, Size: 1 << 30}
	dev2 = nvme.Device{Path: "nvme1n2", Num: nvme.DevNum{Major: 259, Minor: 2}, Size: 1 << 30}
)

// A scene is a record and what the node shows. Each case changes a healthy one.
type scene struct {
	rec  record
	show nvme.Sight
	boot string
}

func (s *scene) staging() *nvme.Entry         { return &s.show.Entries[0] }
func (s *scene) target() *nvme.Entry          { return &s.show.Entries[1] }
func (s *scene) connection() *nvme.Connection { return &s.show.Connections[0] }

// disconnect takes the connection away, and with it the device.
func (s *scene) disconnect() {
	s.show.Connections = nil
	for i := range s.show.Entries {
		s.show.Entries[i].Stale = s.show.Entries[i].Num != nvme.DevNum{}
	}
}

// unpublish takes the volume from its target path.
func (s *scene) unpublish() {
	s.rec.Published, s.show.Entries = nil, s.show.Entries[:1]
}

// unmount takes everything down.
func (s *scene) unmount() {
	for i := range s.show.Entries {
		s.show.Entries[i] = nvme.Entry{Kind: nvme.KindDir}
	}
}

func healthy(block bool) *scene {
	s := &scene{boot: "boot-1", rec: record{
		Volume: judgedVolume, NQN: judgedNQN, Size: 1 << 30, Staging: "/staging", Staged: true, Boot: "boot-1",
		Access: access{Block: block, FS: "ext4", Mode: csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		Target: &reach{Address: "192.0.2.1", Port: 4420}, Content: "ext4 1",
	}}
	s.rec.Published = []publication{{Target: "/pod", Access: s.rec.Access}}
	mounted := nvme.Entry{Kind: nvme.KindDir, Mounted: true, Num: dev1.Num}
	s.show = nvme.Sight{
		Connections: []nvme.Connection{{NQN: judgedNQN, State: nvme.StateLive, Device: dev1}},
		Entries:     []nvme.Entry{mounted, mounted},
	}
	if block {
		s.show.Entries = []nvme.Entry{{Kind: nvme.KindDir}, {Kind: nvme.KindBlock, Num: dev1.Num}}
	}
	return s
}

func TestJudge(t *testing.T) {
	const fs, block = false, true
	for name, c := range map[string]struct {
		block      bool
		change     func(*scene)
		want       Condition
		reason     string
		says       string
		deadMount  bool
		repairable bool
	}{
		"filesystem":           {fs, func(*scene) {}, Healthy, "", "", false, false},
		"block":                {block, func(*scene) {}, Healthy, "", "", false, false},
		"not published":        {fs, (*scene).unpublish, Healthy, "", "", false, false},
		"being unpublished":    {fs, func(s *scene) { *s.target() = nvme.Entry{} }, Healthy, "", "", false, false},
		"node being made":      {block, func(s *scene) { *s.target() = nvme.Entry{} }, Healthy, "", "", false, false},
		"another's connection": {fs, func(s *scene) { s.show.Connections = append(s.show.Connections, nvme.Connection{NQN: "old"}) }, Healthy, "", "", false, false},

		"not seen":          {fs, func(s *scene) { s.show = nvme.Sight{Err: errors.New("no sysfs")} }, Unknown, "Unknown", "no sysfs", false, false},
		"not seen in full":  {fs, func(s *scene) { s.show.Entries = s.show.Entries[:1] }, Unknown, "Unknown", "", false, false},
		"staging not ended": {fs, func(s *scene) { s.rec.Staged = false }, Unstaged, "NotStaged", "", false, false},

		"reconnecting":       {fs, func(s *scene) { s.connection().State = nvme.StateConnecting }, Waiting, "Reconnecting", "I/O waits", false, false},
		"reconnecting block": {block, func(s *scene) { s.connection().State = nvme.StateConnecting }, Waiting, "Reconnecting", "I/O waits", false, false},

		"vanished":             {fs, (*scene).disconnect, Lost, "ConnectionLost", deletePods, true, false},
		"vanished, no boot ID": {fs, func(s *scene) { s.disconnect(); s.boot = "" }, Lost, "ConnectionLost", deletePods, true, false},
		"vanished block":       {block, (*scene).disconnect, Lost, "ConnectionLost", "migrate or restart the VM", false, false},
		"vanished, kept by its holder": {fs, func(s *scene) {
			s.disconnect()
			s.show.Connections = []nvme.Connection{{NQN: judgedNQN, State: nvme.StateGone}}
		}, Lost, "ConnectionLost", "given up", true, false},
		"deleting":                 {block, func(s *scene) { s.connection().State = nvme.StateDeleting }, Lost, "ConnectionLost", "is deleting", false, false},
		"dead":                     {fs, func(s *scene) { s.connection().State = nvme.StateDead }, Lost, "ConnectionLost", "is dead", false, false},
		"namespace became another": {block, func(s *scene) { s.connection().Device = nvme.Device{} }, Lost, "NoDevice", "shows no block device", false, false},
		"vanished, under older NQN": {fs, func(s *scene) {
			s.disconnect()
			s.show.Connections = []nvme.Connection{{NQN: "old", State: nvme.StateLive, Device: dev2}}
		}, Lost, "ConnectionLost", "", true, false},

		"vanished and free": {fs, func(s *scene) { s.unpublish(); s.disconnect() }, Lost, "ConnectionLost", stagedAgain, true, true},
		"vanished, unpublished by half": {fs, func(s *scene) {
			s.disconnect()
			*s.target() = nvme.Entry{Kind: nvme.KindDir}
		}, Lost, "ConnectionLost", stagedAgain, true, true},
		"free but its NQN is for ever":     {fs, func(s *scene) { s.unpublish(); s.disconnect(); s.rec.Target.Unfenced = true }, Lost, "ConnectionLost", deletePods, true, false},
		"free but of an earlier version":   {fs, func(s *scene) { s.unpublish(); s.disconnect(); s.rec.Target = nil }, Lost, "ConnectionLost", deletePods, true, false},
		"free but what it holds is unread": {fs, func(s *scene) { s.unpublish(); s.disconnect(); s.rec.Content = "" }, Lost, "ConnectionLost", deletePods, true, false},
		"free block":                       {block, func(s *scene) { s.unpublish(); s.disconnect() }, Lost, "ConnectionLost", "", false, false},
		"free but the device is there":     {fs, func(s *scene) { s.unpublish(); s.connection().State = nvme.StateGone }, Lost, "ConnectionLost", "", false, false},
		"repair cut short":                 {fs, func(s *scene) { s.unpublish(); s.unmount(); s.rec.Repairing = true }, Stale, "NotMounted", stagedAgain, false, true},
		"repair cut short, lost again": {fs, func(s *scene) {
			s.unpublish()
			s.unmount()
			s.disconnect()
			s.rec.Repairing = true
		}, Lost, "ConnectionLost", stagedAgain, false, true},

		"rebooted":              {fs, func(s *scene) { s.unmount(); s.disconnect(); s.boot = "boot-2" }, Unstaged, "NotConnected", "reboot", false, false},
		"rebooted block":        {block, func(s *scene) { s.disconnect(); s.boot = "boot-2" }, Unstaged, "NotConnected", "reboot", false, false},
		"rebooted, no boot ID":  {fs, func(s *scene) { s.unmount(); s.disconnect(); s.rec.Boot = "" }, Unstaged, "NotConnected", "", false, false},
		"block, boot not told":  {block, func(s *scene) { s.disconnect(); s.rec.Boot = "" }, Unknown, "NotConnected", "not known", false, false},
		"block, boot not known": {block, func(s *scene) { s.disconnect(); s.boot = "" }, Unknown, "NotConnected", "not known", false, false},
		"rebooted within a repair": {fs, func(s *scene) {
			s.unmount()
			s.disconnect()
			s.boot, s.rec.Repairing = "boot-2", true
		}, Unstaged, "NotConnected", "", false, false},

		"connected anew by hand": {fs, func(s *scene) {
			s.connection().Device = dev2
			s.staging().Stale, s.target().Stale = true, true
		}, Stale, reasonStale, "the device at /staging is gone", true, false},
		"connected anew and free": {fs, func(s *scene) {
			s.unpublish()
			s.connection().Device, s.staging().Stale = dev2, true
		}, Stale, reasonStale, stagedAgain, true, true},
		"another's device mounted":   {fs, func(s *scene) { s.unpublish(); s.staging().Num = dev2.Num }, Stale, reasonStale, "/staging shows device 259:2", true, false},
		"target of an older device":  {fs, func(s *scene) { s.target().Num = dev2.Num }, Stale, reasonStale, "/pod shows device 259:2", true, false},
		"node of another device":     {block, func(s *scene) { s.target().Num = dev2.Num }, Stale, reasonStale, "migrate or restart the VM", true, false},
		"unmounted by hand":          {fs, func(s *scene) { s.unpublish(); s.unmount() }, Stale, "NotMounted", "", false, false},
		"stale before reconnecting":  {block, func(s *scene) { s.target().Num = dev2.Num; s.connection().State = nvme.StateConnecting }, Stale, reasonStale, "", true, false},
		"unsound":                    {fs, func(s *scene) { s.staging().Failed = "was shut down by an error" }, Failed, "FilesystemFailed", "/staging was shut down", false, false},
		"unsound while reconnecting": {fs, func(s *scene) { s.staging().Failed = "x"; s.connection().State = nvme.StateConnecting }, Failed, "FilesystemFailed", "", false, false},
		"shrunk":                     {block, func(s *scene) { s.connection().Device.Size-- }, Shrunk, "DeviceShrunk", "1073741823 bytes", false, false},
		"grown":                      {block, func(s *scene) { s.connection().Device.Size++ }, Healthy, "", "", false, false},
		"size not told":              {block, func(s *scene) { s.rec.Size = 0 }, Healthy, "", "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy(c.block)
			c.change(s)
			f := judge(&s.rec, s.show, s.boot)
			if f.condition != c.want || f.reason != c.reason || !strings.Contains(f.message, c.says) {
				t.Errorf("got %s %s %q, want %s %s %q", f.condition, f.reason, f.message, c.want, c.reason, c.says)
			}
			if f.deadMount != c.deadMount || f.repairable != c.repairable {
				t.Errorf("dead mount %t, repairable %t, want %t, %t", f.deadMount, f.repairable, c.deadMount, c.repairable)
			}
			if (f.condition == Healthy) != (f.message == "") || (f.condition == Healthy) != (len(f.entries()) == 0) {
				t.Errorf("%s says %q", f.condition, f.message)
			}
		})
	}
}
