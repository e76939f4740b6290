// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import "context"

// A question is one thing that nobody has seen a real box do. What it makes is removed after it.
type question struct {
	name     string
	asks     string
	switches []string // fields of sim.Switches that it settles
	vital    bool     // without an answer the driver does not work
	ask      func(context.Context, *bench) error
}

// questions in the order in which they are asked: what all others rest on is first.
var questions = []question{
	{"life", "create, export, connect, write, read, delete", nil, true, askLife},
	{"export-delay", "when does an export begin to serve", []string{"ExportDelay"}, false, askExportDelay},
	{"slot-twice", "a second disk in a slot that is taken", []string{"DuplicateSlot"}, false, askSlotTwice},
	{"slot-length", "how long may a slot be", []string{"SlotLimit"}, false, askSlotLength},
	{"comment-length", "how long may a comment be", []string{"CommentLimit", "CutComment"}, false, askCommentLength},
	{"existing-file", "a disk over a file that is there", []string{"RefuseFile", "BlankFile"}, false, askExistingFile},
	{"shared-file", "two disks of one file", []string{"SharedFile"}, false, askSharedFile},
	{"refused-add", "what a refused add leaves behind", []string{"LeaveFile"}, false, askRefusedAdd},
	{"directory", "a disk in a directory that is missing", []string{"NeedDirectory"}, false, askDirectory},
	{"shrink", "making a disk smaller", []string{"Shrink"}, false, askShrink},
	{"resize", "does a connected host learn of a new size", []string{"NoResizeEvent"}, false, askResize},
	{"hidden", "what a row shows while its export is off", []string{"HideExport"}, false, askHidden},
	{"default-nqn", "an export without an NQN", []string{"DefaultNQN", "NeedNQN"}, false, askDefaultNQN},
	{"export-off", "does turning an export off end connections, and is the disk the same afterwards", []string{"KeepOnExportOff", "NewUUID"}, false, askExportOff},
	{"nqn-change", "does another NQN end connections", []string{"KeepOnNQNChange"}, false, askNQNChange},
	{"allow-list", "one allowed host or several", []string{"AllowList"}, false, askAllowList},
	{"allow-change", "does the allow list end connections", []string{"DropOnAllowChange"}, false, askAllowChange},
	{"refusal", "may a refused host retry", []string{"Retry"}, false, askRefusal},
	{"port", "does a port close with its last export", []string{"PortStaysOpen"}, false, askPort},
	{"password", "is the password of an export asked for", nil, false, askPassword},
	{"order", "may commands of one API connection overtake each other", []string{"Unordered"}, false, askOrder},
	{"pace", "how long do commands take", nil, false, askPace},
	{"space", "is the room of a file set aside", nil, false, askSpace},
	{"files-right", "does the removal of files need the policy ftp", []string{"FilesNeedFTP"}, false, askFilesRight},
	{"users-right", "does the list of users need the policy policy", []string{"UsersNeedPolicy"}, false, askUsersRight},
	{"ssh-status", "the exit status of a script that failed", []string{"ExitStatus"}, false, askStatus},
	{"ssh-wrap", "where the console breaks lines", []string{"WrapPut", "HardWrap"}, false, askWrap},
	{"ssh-channels", "channels of one SSH connection at the same time", []string{"ParallelChannels"}, false, askChannels},
	{"ssh-end", "does a script end with its connection", []string{"EndScripts"}, false, askEnd},
	{"ssh-login", "the password beside a key", []string{"KeysOnly"}, false, askLogin},
}

// A Question is what people may choose from.
type Question struct {
	Name     string
	Asks     string
	Switches []string // fields of sim.Switches that it settles
}

// Questions lists what Experiment asks, in order.
func Questions() []Question {
	list := make([]Question, len(questions))
	for i, q := range questions {
		list[i] = Question{q.name, q.asks, q.switches}
	}
	return list
}
