// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

// A State is where a controller stands. The names are those of the Linux kernel in
// /sys/class/nvme/nvmeN/state.
type State int32

// The states of a controller. A fresh one goes new, connecting, live. A lost connection takes it
// through resetting and connecting back to live. Deleted is final; the kernel has no file any more
// to say so.
const (
	StateNew        State = iota // not connected yet
	StateLive                    // I/O flows
	StateResetting               // the connection is lost and being torn down; I/O waits
	StateConnecting              // waiting for the next attempt or making it; I/O waits
	StateDeleting                // closing, or given up; I/O fails
	StateDeleted                 // gone for good
)

var stateNames = [...]string{"new", "live", "resetting", "connecting", "deleting", "deleted"}

// String returns the state's name in sysfs.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}
