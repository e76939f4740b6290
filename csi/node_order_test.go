// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

// model is what a CO may believe of volumeA after the answers it got.
type model struct {
	block     bool
	staged    bool
	published map[string]bool
}

var orderOps = []string{"stage", "publish a", "publish b", "unpublish a", "unpublish b", "unstage", "restart", "reboot"}

// apply does one operation and checks answer and effect against the model.
func (m *model) apply(nt *nodeTest, op string) {
	nt.Helper()
	published := len(m.published) > 0
	want := codes.OK
	var err error
	switch op {
	case "stage":
		err = nt.stage(volumeA)
		m.staged = true
	case "publish a", "publish b":
		if !m.staged {
			want = codes.FailedPrecondition
		} else {
			m.published[op[8:]] = true
		}
		err = nt.publish(volumeA, op[8:])
	case "unpublish a", "unpublish b":
		err = nt.unpublish(volumeA, op[10:])
		delete(m.published, op[10:])
	case "unstage":
		if published {
			want = codes.FailedPrecondition
		} else {
			m.staged = false
		}
		err = nt.unstage(volumeA)
	case "restart":
		nt.restart()
	case "reboot":
		nt.kernel.Reboot()
		nt.restart()
		m.staged = false
		clear(m.published)
	}
	wantCode(nt, err, want)
	m.check(nt)
}

func (m *model) check(nt *nodeTest) {
	nt.Helper()
	conns := nt.connections(volumeA)
	if connected := len(conns) == 1; connected != m.staged {
		nt.Fatalf("connections %v, want staged=%t", conns, m.staged)
	}
	if e := nt.inspect(nt.staging(volumeA)); e.Mounted != (m.staged && !m.block) {
		nt.Fatalf("staging path %+v, want staged=%t", e, m.staged)
	}
	for _, target := range []string{"a", "b"} {
		e := nt.inspect(nt.target(target))
		shows := m.staged && e.Num == conns[0].Device.Num && !e.Stale
		if shows != m.published[target] {
			nt.Fatalf("target %s %+v, want published=%t", target, e, m.published[target])
		}
	}
}

func eachAccess(t *testing.T, f func(t *testing.T, c *csipb.VolumeCapability)) {
	t.Run("filesystem", func(t *testing.T) { f(t, mountCap(multiWriter)) })
	t.Run("block", func(t *testing.T) { f(t, blockCap(sharing)) })
}

// TestEveryOrder does all sequences of two operations, from each state that a volume can be in,
// and a long random walk.
func TestEveryOrder(t *testing.T) {
	states := [][]string{{}, {"stage"}, {"stage", "publish a"}, {"stage", "publish a", "publish b"}}
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		for _, state := range states {
			for i := range len(orderOps) * len(orderOps) {
				nt.kernel.Reboot()
				for _, undo := range []error{nt.unpublish(volumeA, "a"), nt.unpublish(volumeA, "b"), nt.unstage(volumeA)} {
					wantOK(t, undo)
				}
				m := &model{block: c.GetBlock() != nil, published: map[string]bool{}}
				sequence := append([]string(nil), state...)
				for n, k := i, 0; k < 2; n, k = n/len(orderOps), k+1 {
					sequence = append(sequence, orderOps[n%len(orderOps)])
				}
				for _, op := range sequence {
					m.apply(nt, op)
					if t.Failed() {
						t.Fatal(sequence)
					}
				}
			}
		}
	})
}

func TestRandomWalk(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		m := &model{block: c.GetBlock() != nil, published: map[string]bool{}}
		rng := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			m.apply(nt, orderOps[rng.IntN(len(orderOps))])
		}
	})
}

// TestRestartInTheMiddle lets the node's life of a volume break off at each call to the kernel, and
// a new driver go on from there: forwards with a repeat, or backwards.
func TestRestartInTheMiddle(t *testing.T) {
	broken := fmt.Errorf("the driver died here: %w", actors.ErrUnresolved)
	life := func(nt *nodeTest, again int) []error {
		steps := []func() error{
			func() error { return nt.stage(volumeA) },
			func() error { return nt.publish(volumeA, "a") },
			func() error { return nt.unpublish(volumeA, "a") },
			func() error { return nt.unstage(volumeA) },
		}
		var errs []error
		for _, step := range steps {
			err := step()
			if err != nil && again > 0 {
				nt.restart()
				err = step()
			}
			if errs = append(errs, err); err != nil {
				nt.restart()
				return errs
			}
		}
		return errs
	}
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		for _, again := range []int{0, 1} {
			for stop := 1; ; stop++ {
				nt := newNodeTest(t, c)
				calls := 0
				nt.fault = func(string, string) error {
					if calls++; calls == stop {
						return broken
					}
					return nil
				}
				errs := life(nt, again)
				if calls < stop {
					break // lived through without an interruption
				}
				for _, err := range errs {
					if err != nil && (again == 1 || !errors.Is(err, broken)) {
						t.Fatalf("stopped at call %d, again=%d: %v", stop, again, err)
					}
				}
				nt.fault = nil
				if again == 0 { // the CO takes everything back
					wantOK(t, nt.unpublish(volumeA, "a"))
					wantOK(t, nt.unstage(volumeA))
				}
				nt.wantClean(volumeA, "a")
			}
		}
	})
}
