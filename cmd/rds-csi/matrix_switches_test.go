// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// matrixTimeout is the command deadline of the matrix. Whatever is late comes within it, since that is
// how long a driver reckons with a command whose answer was lost.
const matrixTimeout = 800 * time.Millisecond

// A variation is a way in which a real box may differ from what the simulated one does by default.
type variation struct {
	name string
	sw   sim.Switches
	// lone says that a comment has no room for two grants, so that the second is never given.
	lone bool
}

// variations are all switches, each with every value that is not its default. One that matters only
// beside another comes with that.
func variations() []variation {
	const soon, later = matrixTimeout / 8, matrixTimeout * 2 / 5
	return []variation{
		{name: "default"},
		{name: "DuplicateSlot=Accept", sw: sim.Switches{DuplicateSlot: sim.Accept}},
		{name: "DuplicateSlot=Rename", sw: sim.Switches{DuplicateSlot: sim.Rename}},
		{name: "RefuseFile", sw: sim.Switches{RefuseFile: true}},
		{name: "BlankFile", sw: sim.Switches{BlankFile: true}},
		{name: "SharedFile", sw: sim.Switches{SharedFile: true}},
		{name: "SharedFile+DuplicateSlot", sw: sim.Switches{SharedFile: true, DuplicateSlot: sim.Accept}},
		{name: "LeaveFile", sw: sim.Switches{LeaveFile: true}},
		{name: "SlotLimit=none", sw: sim.Switches{SlotLimit: -1}},
		{name: "CommentLimit", sw: sim.Switches{CommentLimit: matrixComment}, lone: true},
		{name: "CutComment", sw: sim.Switches{CommentLimit: matrixComment, CutComment: true}, lone: true},
		{name: "Shrink", sw: sim.Switches{Shrink: true}},
		{name: "NeedDirectory", sw: sim.Switches{NeedDirectory: true}},
		{name: "HideExport", sw: sim.Switches{HideExport: true}},
		{name: "Unordered", sw: sim.Switches{Unordered: true}},
		{name: "ExitStatus", sw: sim.Switches{ExitStatus: 1}},
		{name: "KeysOnly", sw: sim.Switches{KeysOnly: true}},
		{name: "ParallelChannels", sw: sim.Switches{ParallelChannels: true}},
		{name: "EndScripts", sw: sim.Switches{EndScripts: true}},
		{name: "LateWrites", sw: sim.Switches{LateWrites: later}},
		{name: "WrapPut", sw: sim.Switches{WrapPut: true}},
		{name: "HardWrap", sw: sim.Switches{HardWrap: true, WrapPut: true}},
		{name: "DefaultNQN", sw: sim.Switches{DefaultNQN: "nqn.2000-02.com.mikrotik:"}},
		{name: "NeedNQN", sw: sim.Switches{NeedNQN: true}},
		{name: "ExportDelay", sw: sim.Switches{ExportDelay: soon}},
		{name: "KeepOnExportOff", sw: sim.Switches{KeepOnExportOff: true}},
		{name: "KeepOnNQNChange", sw: sim.Switches{KeepOnNQNChange: true}},
		{name: "DropOnAllowChange", sw: sim.Switches{DropOnAllowChange: true}},
		{name: "AllowList", sw: sim.Switches{AllowList: true}},
		{name: "Retry", sw: sim.Switches{Retry: true}},
		{name: "PortStaysOpen", sw: sim.Switches{PortStaysOpen: true}},
		{name: "NoResizeEvent", sw: sim.Switches{NoResizeEvent: true}},
		{name: "NewUUID", sw: sim.Switches{NewUUID: true}},
		{name: "PoolDelay", sw: sim.Switches{PoolDelay: soon}},
		{name: "PoolDelay+HideLate", sw: sim.Switches{PoolDelay: soon, HideLate: true}},
		{name: "DiskDelay", sw: sim.Switches{DiskDelay: soon / 4}},
		{name: "DiskDelay+HideLate", sw: sim.Switches{DiskDelay: soon / 4, HideLate: true}},
		{name: "Resync=after", sw: sim.Switches{Resync: soon}},
		{name: "Resync=always", sw: sim.Switches{Resync: -1}},
		// With all rights and with rose-storage these change nothing, which is what is held here.
		{name: "RightsAtLogin", sw: sim.Switches{RightsAtLogin: true}},
		{name: "FilesNeedFTP", sw: sim.Switches{FilesNeedFTP: true}},
		{name: "UsersNeedPolicy", sw: sim.Switches{UsersNeedPolicy: true}},
		{name: "PlainPool", sw: sim.Switches{PlainPool: true}},
		{name: "NoDiskMenu", sw: sim.Switches{NoDiskMenu: true}},
		{name: "RenumberIDs", sw: sim.Switches{RenumberIDs: true}},
	}
}

// matrixComment is room for the ledger of one grant and not of two.
const matrixComment = 124

// TestMatrixHasEverySwitch fails when a switch is added to the simulated box that the matrix does not turn.
func TestMatrixHasEverySwitch(t *testing.T) {
	values := map[string]map[any]bool{}
	for _, v := range variations() {
		sw := reflect.ValueOf(v.sw)
		for i := range sw.NumField() {
			name := sw.Type().Field(i).Name
			if values[name] == nil {
				values[name] = map[any]bool{}
			}
			if !sw.Field(i).IsZero() {
				values[name][sw.Field(i).Interface()] = true
			}
		}
	}
	for name, seen := range values {
		if len(seen) == 0 {
			t.Errorf("no variation of the matrix has the switch %s", name)
		}
	}
	if choices := values["DuplicateSlot"]; !choices[sim.Accept] || !choices[sim.Rename] {
		t.Errorf("of DuplicateSlot the matrix has %v alone", choices)
	}
}
