// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/rds-csi/rds-csi/e2e/stamp"
)

// PortName is the name of the serial port on which the agent listens.
const PortName = "rds-csi.agent"

// The operations, with what each takes and answers.
const (
	Hello       = "hello"        // nothing; Greeting
	Run         = "run"          // Command; Ended, once the program has ended
	Start       = "start"        // Program; nothing
	Kill        = "kill"         // Name; Ended
	Signal      = "signal"       // Name; nothing, and the program may go on
	Hold        = "hold"         // Held; nothing. From then on the program waits, whoever runs it
	Release     = "release"      // Released; nothing. The program does not wait any more
	Load        = "load"         // Module; nothing. It is one that was loaded when the guest started
	Unload      = "unload"       // Module; nothing
	Forward     = "forward"      // Forwarding; nothing
	Read        = "read"         // Path; Content
	Write       = "write"        // Content; nothing. Directories are made
	MakeDir     = "make-dir"     // Path; nothing, also where it is there
	List        = "list"         // Path; Names. A directory that is not there is empty
	Stat        = "stat"         // Path; Stats
	Remove      = "remove"       // Path; nothing: the file, or the empty directory, is gone
	BeginWrites = "begin-writes" // Writes; nothing
	AskWrites   = "ask-writes"   // Name; Written so far
	AwaitWrites = "await-writes" // Wait; Written so far, once that many were acknowledged
	FreeWrites  = "free-writes"  // nothing; nothing. All writers go on that are held
	EndWrites   = "end-writes"   // Name; Written in all, once the write under way has ended
	Verify      = "verify"       // Verification; nothing. An error tells what is lost or torn
	KernelLog   = "kernel-log"   // nothing; Content: the kernel's messages, one in each line
	ShutDown    = "shut-down"    // Path in a file system; nothing. It fails as after an error of its log
	Sync        = "sync"         // nothing; nothing
	PowerOff    = "power-off"    // nothing; no answer
	Crash       = "crash"        // nothing; no answer: the kernel panics
)

// A Greeting says who answers.
type Greeting struct {
	Kernel string `json:"kernel"` // release, as of uname -r
}

// A Command is a program to be run to its end.
type Command struct {
	Args    []string      `json:"args"` // with the program's path or name first
	Stdin   []byte        `json:"stdin,omitempty"`
	Timeout time.Duration `json:"timeout"` // then it is killed; 0: a minute
}

// Ended is how a program ended.
type Ended struct {
	Exit   int    `json:"exit"` // status; -1: by a signal
	How    string `json:"how"`  // in words
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
}

// A Program runs until it is killed. What it prints goes to the file Log(Name).
type Program struct {
	Name string   `json:"name"`
	Args []string `json:"args"` // with the program's path or name first
}

// Log is the file that has what a program prints.
func Log(program string) string { return "/var/log/" + program + ".log" }

// Held is a program that waits each time somebody runs it: before it begins or, with After, when it has done its work.
type Held struct {
	Program string `json:"program"` // name, as in mkfs.ext4
	After   bool   `json:"after"`
}

// Waiting is a directory with a file for each process that is held, named by its ID.
func Waiting(program string) string { return "/run/held/" + program + "/waiting" }

// Released lets those go on that are held, or kills them.
type Released struct {
	Program string `json:"program"`
	Kill    bool   `json:"kill"`
}

// A Module is one of the kernel, by its name with underscores.
type Module struct {
	Name string `json:"name"`
}

// A Name is that of a program or of writes. Signal is for a program: 0 is SIGTERM.
type Name struct {
	Name   string `json:"name"`
	Signal int    `json:"signal,omitempty"`
}

// A Forwarding hands on what comes in at a TCP port to a unix socket.
type Forwarding struct {
	Port   int    `json:"port"`
	Socket string `json:"socket"`
}

// A Path is that of a file.
type Path struct {
	Path string `json:"path"`
}

// Content is a file with what it holds.
type Content struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// Names are those of a directory's entries.
type Names struct {
	Names []string `json:"names"`
}

// Stats are what is known of a file.
type Stats struct {
	Mode         string `json:"mode"` // as ls prints it
	Size         int64  `json:"size"` // bytes, of a block device, too
	Major, Minor uint32 // of a device
}

// Writes are a writer's: until it is ended, it writes to its ring, one write after the other, and repeats what fails.
type Writes struct {
	Name  string        `json:"name"`
	Path  string        `json:"path"` // a block device, or a file, which is made where it is not there
	Ring  stamp.Ring    `json:"ring"`
	Way   Way           `json:"way,omitempty"`
	Pause time.Duration `json:"pause"`           // between two writes
	Count uint64        `json:"count,omitempty"` // how many writes; 0: until the writer is ended
	Hold  uint64        `json:"hold,omitempty"`  // after how many writes it waits until it is freed; 0: it does not
}

// A Way is how a write reaches the kernel.
type Way string

// The ways of writing.
const (
	Direct   Way = ""         // with O_DIRECT
	Durable  Way = "durable"  // with O_DIRECT and O_DSYNC: the device has it on its medium before it is acknowledged
	Buffered Way = "buffered" // by the page cache, which is written back before it is acknowledged
)

// A Wait is for a writer.
type Wait struct {
	Name  string `json:"name"`
	Acked uint64 `json:"acked"` // writes in all
}

// Written is what a writer knows.
type Written struct {
	Begun   uint64         `json:"begun"`
	Acked   uint64         `json:"acked"`
	Errors  map[string]int `json:"errors,omitempty"` // how often the kernel gave which
	Longest time.Duration  `json:"longest"`          // write
}

// A Verification compares a ring on a disk with what its writer knows.
type Verification struct {
	Path  string     `json:"path"`
	Ring  stamp.Ring `json:"ring"`
	Begun uint64     `json:"begun"`
	Acked uint64     `json:"acked"`
	// Lost says that the writer is lost, and may have written more than it is known to have.
	Lost bool `json:"lost"`
}
