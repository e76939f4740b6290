// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"slices"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/nvme"
)

// A Condition says in a word how a volume fares on this node.
type Condition string

// The conditions of a volume that has a record.
const (
	Healthy  Condition = "healthy"  // connected, live, and everything shows its device
	Waiting  Condition = "waiting"  // the kernel reconnects, I/O waits
	Lost     Condition = "lost"     // the kernel has given the connection up, or it shows no device
	Stale    Condition = "stale"    // connected, but something shows another device, or one that is gone
	Failed   Condition = "failed"   // connected, but its filesystem is not sound
	Shrunk   Condition = "shrunk"   // connected, with fewer bytes than were published
	Unstaged Condition = "unstaged" // not staged, or before a reboot; the orchestrator stages it again
	Unknown  Condition = "unknown"  // it cannot be told
)

// Conditions returns all conditions.
func Conditions() []Condition {
	return []Condition{Healthy, Waiting, Lost, Stale, Failed, Shrunk, Unstaged, Unknown}
}

// A finding is a condition and what led to it.
type finding struct {
	condition Condition
	reason    string // CamelCase, for programs; empty of a healthy volume
	message   string // what is wrong and what helps; empty of a healthy volume
	// deadMount says that a filesystem is mounted whose device is gone or another.
	deadMount bool
	// repairable says that the volume can be mounted again without anybody.
	repairable bool
	// doubtful says that the target can be asked whether the volume is still this node's.
	doubtful bool
}

func found(c Condition, reason, format string, args ...any) finding {
	return finding{condition: c, reason: reason, message: fmt.Sprintf(format, args...)}
}

// reasonStale stands for what shows a device that is not the volume's any more.
const reasonStale = "StaleMount"

// What helps.
const (
	deletePods  = "delete the pods that use the volume on this node, then it is staged again"
	restartVM   = "the device that pods have open stays dead: migrate or restart the VM, or delete the pods that use the volume on this node"
	stagedAgain = "nothing on this node uses it: it is connected and mounted again by itself"
)

// help says what to do about a device that is gone.
func help(rec *record, s nvme.Sight) string {
	switch {
	case rec.Access.Block:
		return restartVM
	case unrepairable(rec, s) == "":
		return stagedAgain
	}
	return deletePods
}

// judge compares what was recorded of a volume with what the node shows of it. boot is this run of the machine,
// as in record.Boot. What cannot be told is Unknown, never Healthy.
func judge(rec *record, s nvme.Sight, boot string) finding {
	switch {
	case s.Err != nil:
		return found(Unknown, "Unknown", "what this node has of the volume cannot be seen: %v", s.Err)
	case len(s.Entries) != 1+len(rec.Published):
		return found(Unknown, "Unknown", "what this node has of the volume was not looked for at all of its paths")
	case !rec.Staged:
		return found(Unstaged, "NotStaged", "staging the volume was begun and has not ended")
	}
	i := slices.IndexFunc(s.Connections, func(c nvme.Connection) bool { return c.NQN == rec.NQN })
	if i < 0 {
		return judgeAbsent(rec, s, boot)
	}
	c := s.Connections[i]
	if c.Device.Path == "" || (c.State != nvme.StateLive && c.State != nvme.StateConnecting) {
		return judgeLost(rec, s, c.State)
	}
	if f := judgePaths(rec, s, c.Device); f.condition != Healthy {
		return f
	}
	switch {
	case s.Entries[0].Failed != "" && !rec.Access.Block:
		return found(Failed, "FilesystemFailed", "the filesystem at %s %s: look at the kernel's log of this node, and delete the pods that use the volume there: staging it again checks it", rec.Staging, s.Entries[0].Failed)
	case c.Device.Size < rec.Size:
		return found(Shrunk, "DeviceShrunk", "the device has %d bytes and %d were published: do not write to it, repair the disk's row on the box", c.Device.Size, rec.Size)
	case c.State == nvme.StateConnecting:
		f := found(Waiting, "Reconnecting", "the connection to %s is lost and the kernel is reconnecting, I/O waits: see whether the box answers", rec.NQN)
		// Without an epoch of its own nothing that a target says is about this attachment.
		f.doubtful = rec.Target != nil && !rec.Target.Unfenced
		return f
	}
	return finding{condition: Healthy}
}

// judgeAbsent judges a volume whose NQN the kernel does not know.
func judgeAbsent(rec *record, s nvme.Sight, boot string) finding {
	mounted := slices.ContainsFunc(s.Entries, func(e nvme.Entry) bool { return e.Mounted })
	switch {
	case mounted, rec.Repairing && boot == rec.Boot: // a mount does not outlive the machine's run
		return judgeLost(rec, s, nvme.StateGone)
	case !rec.Access.Block, boot != "" && rec.Boot != "" && rec.Boot != boot:
		return found(Unstaged, "NotConnected", "this node has no connection to %s, as after a reboot, and nothing mounted: the kubelet stages the volume again when a pod needs it", rec.NQN)
	case boot == "" || rec.Boot == "":
		return found(Unknown, "NotConnected", "this node has no connection to %s, and whether the machine was rebooted since is not known: if pods use the volume on this node, %s", rec.NQN, deletePods)
	}
	return judgeLost(rec, s, nvme.StateGone)
}

// judgeLost judges a volume whose connection is of no more use.
func judgeLost(rec *record, s nvme.Sight, state nvme.State) finding {
	reason, what := "ConnectionLost", "the kernel has given up the connection to "+rec.NQN
	switch state {
	case nvme.StateLive, nvme.StateConnecting:
		reason, what = "NoDevice", fmt.Sprintf("the connection to %s is %s but shows no block device, as when its namespace became another", rec.NQN, state)
	case nvme.StateDeleting, nvme.StateDead:
		what = fmt.Sprintf("the connection to %s is %s", rec.NQN, state)
	}
	f := found(Lost, reason, "%s, its device is gone: %s", what, help(rec, s))
	f.deadMount = slices.ContainsFunc(s.Entries, func(e nvme.Entry) bool { return e.Mounted && e.Stale && e.Kind != nvme.KindBlock })
	f.repairable = unrepairable(rec, s) == ""
	return f
}

// judgePaths judges whether the paths of a connected volume show its device.
func judgePaths(rec *record, s nvme.Sight, dev nvme.Device) finding {
	stale := func(path string, e nvme.Entry) finding {
		what := fmt.Sprintf("%s shows device %s, the volume is %s by now", path, e.Num, dev.Num)
		if e.Stale {
			what = fmt.Sprintf("the device at %s is gone, the volume is %s by now", path, dev.Num)
		}
		f := found(Stale, reasonStale, "%s: %s", what, help(rec, s))
		f.deadMount, f.repairable = true, unrepairable(rec, s) == ""
		return f
	}
	staging := s.Entries[0]
	switch {
	case rec.Access.Block:
	case !staging.Mounted:
		f := found(Stale, "NotMounted", "the volume is connected but not mounted at %s: %s", rec.Staging, help(rec, s))
		f.repairable = unrepairable(rec, s) == ""
		return f
	case staging.Num != dev.Num:
		return stale(rec.Staging, staging)
	}
	for i, p := range rec.Published {
		e := s.Entries[1+i]
		// Where nothing is, nothing misleads: it is being published or unpublished.
		shows := e.Mounted
		if p.Access.Block {
			shows = e.Kind == nvme.KindBlock
		}
		if shows && e.Num != dev.Num {
			return stale(p.Target, e)
		}
	}
	return finding{condition: Healthy}
}

// unrepairable says why a filesystem volume cannot be mounted again by itself, and nothing where it can. The
// device that it was mounted from is gone: nothing reaches the volume from there any more, and nothing can be
// lost that is not lost already. What has the old mount open goes on with the old mount, whatever is mounted in
// its place, so this is for volumes that nothing uses. And it is for those whose NQN is of one attachment only:
// whoever can connect to it is still the one node that may write.
func unrepairable(rec *record, s nvme.Sight) string {
	for i := range rec.Published {
		if s.Entries[1+i].Mounted {
			return "it is published at " + rec.Published[i].Target
		}
	}
	staging := s.Entries[0]
	switch {
	case rec.Access.Block:
		return "what has a block device open keeps the one that is gone"
	case !rec.Staged || (!staging.Mounted && !rec.Repairing) || (staging.Mounted && !staging.Stale):
		return "no filesystem is mounted whose device is gone"
	case rec.Target == nil || rec.Content == "":
		return "what it was staged with was not recorded"
	case rec.Target.Unfenced:
		return "its NQN is not of this attachment alone, another node may have it by now"
	}
	return ""
}

// entries returns the finding as CSI tells of it, and none of a healthy volume.
func (f finding) entries() []*csipb.VolumeHealth_VolumeHealthEntry {
	if f.condition == Healthy {
		return nil
	}
	status := csipb.VolumeHealthErrorType_INACCESSIBLE
	if f.condition == Failed || f.condition == Shrunk || f.condition == Unknown {
		status = csipb.VolumeHealthErrorType_DEGRADED
	}
	entries := []*csipb.VolumeHealth_VolumeHealthEntry{{Status: status, Reason: f.reason, Message: f.message}}
	if f.condition == Lost && f.deadMount {
		entries = append(entries, &csipb.VolumeHealth_VolumeHealthEntry{
			Status: status, Reason: reasonStale, Message: "a filesystem is still mounted whose device is gone",
		})
	}
	return entries
}
