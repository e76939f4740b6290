// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/rds-csi/rds-csi/nvme/target"
)

// A Rule is a fault that waits for the commands it is for. A command meets the first rule that it
// matches.
type Rule struct {
	// Command is the command's path, as a pattern of path.Match: "/disk/set", "/disk/*". Empty: any. That of an NVMe
	// host is one of target's operations: "read", "write*".
	Command string
	// Transport is "api", "ssh" or "nvme". Empty: "api" or "ssh".
	Transport string
	// Args are the values that arguments must have, as patterns of path.Match; numbers matches the
	// items of a command however they are named. An NVMe host's command has two, the NQNs "subsystem" and "host". Nil:
	// any.
	Args map[string]string
	// Skip is how many matching commands pass unharmed first.
	Skip int
	// Times is how often the fault happens; zero is for ever.
	Times int
	// Fault is what happens. Its Hold is replaced where Freeze is true.
	Fault Fault
	// Freeze holds the command until the rule is cleared.
	Freeze bool
}

// An Injected is a rule that is in force.
type Injected struct {
	ID   int
	Rule Rule
	Hits int // commands that met the fault
}

// faults are the rules in force. They outlive boots.
type faults struct {
	mu    sync.Mutex
	last  int
	rules []*injected
}

type injected struct {
	Injected
	skipped int
	hold    chan struct{} // closed when the rule is cleared
}

func newFaults() *faults { return &faults{} }

// overNVMe is the transport of what hosts ask for.
const overNVMe = "nvme"

// check reports whether the patterns of a rule are ones, and its fault is one for what it is for.
func (r Rule) check() error {
	for pattern := range maps.Values(r.Args) {
		if _, err := path.Match(pattern, ""); err != nil {
			return err
		}
	}
	switch {
	case r.Transport == overNVMe && r.Fault.forSessions():
		return errors.New("a host's command can be held, delayed, failed with a status, and answered with zeroes or another size")
	case r.Transport != overNVMe && r.Fault.forHosts():
		return errors.New("status, zeroes and sizes are for the commands of hosts: give the transport nvme")
	case r.Fault.Size < 0:
		return fmt.Errorf("size of %d bytes is negative", r.Fault.Size)
	}
	_, err := path.Match(r.Command, "")
	return err
}

// matches reports whether a rule is for a command.
func (r Rule) matches(c Command) bool {
	if ok, err := path.Match(r.Command, c.Name); r.Command != "" && (err != nil || !ok) {
		return false
	}
	if r.Transport != c.Transport && (r.Transport != "" || c.Transport == overNVMe) {
		return false
	}
	for name, pattern := range r.Args {
		value, has := c.arg(name)
		if !has && name == "numbers" {
			value, has = c.arg(".id")
		}
		if ok, err := path.Match(pattern, value); !has || err != nil || !ok {
			return false
		}
	}
	return true
}

// add puts a rule in force.
func (fs *faults) add(r Rule) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.last++
	in := &injected{Injected: Injected{ID: fs.last, Rule: r}}
	if r.Freeze {
		in.hold = make(chan struct{})
		in.Rule.Fault.Hold = in.hold
	}
	fs.rules = append(fs.rules, in)
	return in.ID
}

// list returns the rules in force, the oldest first.
func (fs *faults) list() []Injected {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list := make([]Injected, len(fs.rules))
	for i, r := range fs.rules {
		list[i] = r.Injected
	}
	return list
}

// clear ends the rules that are chosen, lets go what they hold, and returns how many there were.
func (fs *faults) clear(chosen func(Injected) bool) (n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.rules = slices.DeleteFunc(fs.rules, func(r *injected) bool {
		if !chosen(r.Injected) {
			return false
		}
		if r.hold != nil {
			close(r.hold)
		}
		n++
		return true
	})
	return n
}

// meet returns what goes wrong with a command. A rule that is used up stays in the list and does
// nothing.
func (fs *faults) meet(c Command) Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, r := range fs.rules {
		switch {
		case r.Rule.Times > 0 && r.Hits >= r.Rule.Times, !r.Rule.matches(c):
		case r.skipped < r.Rule.Skip:
			r.skipped++
		default:
			r.Hits++
			return r.Rule.Fault
		}
	}
	return Fault{}
}

// meetHost returns what goes wrong with a host's command.
func (fs *faults) meetHost(r target.Request) target.Fault {
	fs.mu.Lock()
	none := len(fs.rules) == 0
	fs.mu.Unlock()
	if none {
		return target.Fault{}
	}
	return fs.meet(Command{
		Name: string(r.Operation), Transport: overNVMe, Args: []Arg{{"subsystem", r.Subsystem}, {"host", r.Host}},
	}).host()
}

// fault returns what goes wrong with a command.
func (b *boot) fault(c Command) Fault {
	if f := b.cfg.Fault(c); !f.zero() {
		return f
	}
	return b.faults.meet(c)
}
