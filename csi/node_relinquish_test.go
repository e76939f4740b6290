// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/nvme"
)

// told is what people were told.
func (nt *nodeTest) told() string {
	nt.news.mu.Lock()
	defer nt.news.mu.Unlock()
	return strings.Join(nt.news.texts, "\n")
}

// asked counts how often a target was asked whether a volume is still this node's.
func (nt *nodeTest) asked() int {
	n := 0
	for _, op := range nt.kernel.Ops() {
		if strings.HasPrefix(op, "Relinquish ") {
			n++
		}
	}
	return n
}

// A volume that waits for its connection is given up when its target says that another node has it, not before half a
// minute is over, and beneath a pod, too: the pod could never end otherwise.
func TestRelinquished(t *testing.T) {
	for name, c := range map[string]*csipb.VolumeCapability{"filesystem": mountCap(writer), "block": blockCap(writer)} {
		// That the kernel waits, that the driver has given up, and what that has left.
		lost := "ConnectionFailure ConnectionFailure ConnectionFailure"
		if name == "filesystem" {
			lost += " StaleMountDetected"
		}
		t.Run(name, func(t *testing.T) {
			watched(t, c, func(nt *nodeTest) {
				nt.kernel.Supersede(nqnOf(volumeA), "the target exports the volume as another")
				nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
				nt.wait(patience + 4*time.Second)
				nt.want(csi.Waiting, "")
				if n := nt.asked(); n != 0 {
					t.Errorf("the target was asked %d times while the kernel may be about to reconnect", n)
				}
				nt.wait(time.Second)
				if c := nt.connections(volumeA); len(c) > 0 {
					t.Errorf("%v waits still", c)
				}
				if text := nt.told(); !strings.Contains(text, "has lost the volume to another one (the target exports") || !strings.Contains(text, "delete the pods") {
					t.Errorf("told %q", text)
				}
				nt.wait(5 * time.Second)
				nt.want(csi.Lost, lost)
				wantOK(t, nt.unpublish(volumeA, "a"))
				wantOK(t, nt.unstage(volumeA))
				nt.wantClean(volumeA, "a")
				nt.wait(5 * time.Second)
			})
		})
	}
}

// answers has targets answer with an error, or none, and say of no attachment that it is over. It counts how often they
// are asked.
func (nt *nodeTest) answers(err error) *int {
	asked := new(int)
	nt.mu.Lock()
	defer nt.mu.Unlock()
	nt.fault = func(op, _ string) error {
		if op != "Relinquish" {
			return nil
		}
		*asked++
		return err
	}
	return asked
}

// patience is how long a volume waits before its target is asked.
const patience = 30 * time.Second

// As long as the target does not say that the attachment is over nothing is given up, and it is asked ever more seldom.
func TestNotRelinquished(t *testing.T) {
	for name, fault := range map[string]error{"it stands": nil, "the target is away": errors.New("no route")} {
		t.Run(name, func(t *testing.T) {
			watched(t, blockCap(writer), func(nt *nodeTest) {
				asked := nt.answers(fault)
				nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
				nt.wait(time.Hour)
				if *asked < 10 || *asked > 20 {
					t.Errorf("asked %d times in an hour", *asked)
				}
				if c := nt.connections(volumeA); len(c) != 1 || c[0].State != nvme.StateConnecting {
					t.Errorf("connections %v", c)
				}
				nt.kernel.SetState(nqnOf(volumeA), nvme.StateLive)
				nt.wait(5 * time.Second)
				nt.want(csi.Healthy, "ConnectionFailure")
			})
		})
	}
}

// Where the target refuses this host by name it is asked each ten seconds: that this lasts is what decides.
func TestRefusedIsAskedSoon(t *testing.T) {
	watched(t, blockCap(writer), func(nt *nodeTest) {
		asked := nt.answers(nvme.ErrHostRefused)
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
		nt.wait(patience + 45*time.Second)
		if *asked != 5 {
			t.Errorf("asked %d times in 45 s", *asked)
		}
	})
}

// Of a volume without an epoch of its own nothing that the target says is about this attachment: it is not asked.
func TestNotRelinquishedUnfenced(t *testing.T) {
	for name, prepare := range map[string]func(nt *nodeTest){
		"no epoch":   func(nt *nodeTest) { nt.nqn = strings.TrimSuffix(nqnOf(volumeA), ".m0abc123") },
		"no fencing": func(nt *nodeTest) { nt.volumeContext = map[string]string{"fencing": "none"} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nt := newNodeTest(t, blockCap(writer))
				prepare(nt)
				wantOK(t, nt.stage(volumeA))
				nt.watch()
				nqn := nt.connections(volumeA)[0].NQN
				nt.kernel.Supersede(nqn, "the target exports the volume as another")
				nt.kernel.SetState(nqn, nvme.StateConnecting)
				nt.wait(time.Hour)
				if nt.asked() > 0 || len(nt.connections(volumeA)) != 1 {
					t.Errorf("asked %d times, connections %v", nt.asked(), nt.connections(volumeA))
				}
				nt.unwatch()
			})
		})
	}
}
