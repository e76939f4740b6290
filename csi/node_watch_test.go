// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/nvme"
)

// news is what a watching node told.
type news struct {
	mu        sync.Mutex
	counts    map[csi.Condition]int // the latest
	vanished  int
	dead      int
	recovered []error
	reports   []string // reasons
	texts     []string
}

func (n *news) hooks() csi.NodeHooks {
	locked := func(f func()) { n.mu.Lock(); defer n.mu.Unlock(); f() }
	return csi.NodeHooks{
		Conditions: func(c map[csi.Condition]int) { locked(func() { n.counts = c }) },
		Vanished:   func() { locked(func() { n.vanished++ }) },
		DeadMount:  func() { locked(func() { n.dead++ }) },
		Recovered:  func(err error) { locked(func() { n.recovered = append(n.recovered, err) }) },
		Report: func(reason string, _ actors.VolumeID, text string) {
			locked(func() { n.reports, n.texts = append(n.reports, reason), append(n.texts, text) })
		},
	}
}

// watched runs a test in a bubble of time, with one volume staged and published at "a", and the watcher on.
func watched(t *testing.T, c *csipb.VolumeCapability, f func(nt *nodeTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		nt := newNodeTest(t, c)
		wantOK(t, nt.stage(volumeA))
		wantOK(t, nt.publish(volumeA, "a"))
		nt.watch()
		nt.want(csi.Healthy, "")
		f(nt)
		nt.unwatch()
	})
}

// watch runs the driver's watcher until unwatch is called.
func (nt *nodeTest) watch() {
	ctx, cancel := context.WithCancel(nt.Context())
	done := make(chan error, 1)
	node := nt.node
	go func() { done <- node.Watch(ctx) }()
	synctest.Wait()
	nt.unwatch = func() {
		nt.Helper()
		cancel()
		wantOK(nt, <-done)
		wantOK(nt, node.Close(context.Background()))
	}
}

// update replaces the driver and its watcher.
func (nt *nodeTest) update() {
	nt.unwatch()
	nt.restart()
	nt.watch()
}

func (nt *nodeTest) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want demands that volumeA is in a condition, and what people were told since the last call.
func (nt *nodeTest) want(c csi.Condition, reports string) {
	nt.Helper()
	nt.news.mu.Lock()
	defer nt.news.mu.Unlock()
	want := map[csi.Condition]int{c: 1}
	if c == "" {
		want = map[csi.Condition]int{}
	}
	if !maps.Equal(nt.news.counts, want) {
		nt.Errorf("conditions %v, want %v", nt.news.counts, want)
	}
	if got := strings.Join(nt.news.reports, " "); got != reports {
		nt.Errorf("told %q %q, want %q", got, nt.news.texts, reports)
	}
	nt.news.reports, nt.news.texts = nil, nil
}

func (nt *nodeTest) did(op string) bool {
	return slices.ContainsFunc(nt.kernel.Ops(), func(s string) bool { return strings.HasPrefix(s, op+" ") })
}

// A controller that vanished beneath a pod is seen at the next look, told once, and left alone: what the pod has
// open stays dead, whatever is mounted in its place.
func TestVanishedBeneathAPod(t *testing.T) {
	for name, c := range map[string]struct {
		cap     *csipb.VolumeCapability
		reports string
		dead    int
		says    string
	}{
		"filesystem": {mountCap(writer), "ConnectionFailure StaleMountDetected", 1, "delete the pods"},
		"block":      {blockCap(writer), "ConnectionFailure", 0, "migrate or restart the VM"},
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, c.cap, func(nt *nodeTest) {
				nt.kernel.Vanish(nqnOf(volumeA))
				nt.wait(5 * time.Second)
				if text := strings.Join(nt.news.texts, "\n"); !strings.Contains(text, c.says) || !strings.Contains(text, "since 2000-01-01T00:00:05Z") {
					nt.Errorf("told %q", text)
				}
				nt.want(csi.Lost, c.reports)
				nt.wait(30 * time.Minute)
				nt.want(csi.Lost, "")
				nt.wait(31 * time.Minute)
				nt.want(csi.Lost, c.reports) // Kubernetes forgets events
				if nt.news.vanished != 1 || nt.news.dead != c.dead || len(nt.news.recovered) != 0 {
					nt.Errorf("%d vanished, %d dead, recovered %v", nt.news.vanished, nt.news.dead, nt.news.recovered)
				}
				if ops := nt.kernel.Ops(); slices.Contains(ops[1:], ops[0]) || nt.did("Unmount") || nt.did("Restore") {
					nt.Errorf("touched: %q", ops)
				}
			})
		})
	}
}

// Once no pod uses it, a filesystem volume is connected and mounted again, and what comes next works.
func TestRepairsWhatIsFree(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.wait(5 * time.Second)
		nt.want(csi.Lost, "ConnectionFailure StaleMountDetected")
		wantCode(nt, nt.publish(volumeA, "b"), codes.FailedPrecondition)
		wantOK(nt, nt.unpublish(volumeA, "a"))
		nt.wait(6 * time.Second)
		if nt.did("Restore") {
			nt.Error("the kubelet had no time to unstage")
		}
		nt.wait(15 * time.Second)
		nt.want(csi.Healthy, "")
		if !slices.Equal(nt.news.recovered, []error{nil}) {
			nt.Errorf("recovered %v", nt.news.recovered)
		}
		ops := nt.kernel.Ops()
		if got := ops[slices.Index(ops, "Unmount "+nt.target("a"))+1:]; !slices.Equal(got, []string{
			"Connect " + nqnOf(volumeA), "Unmount " + nt.staging(volumeA), "Restore " + nt.staging(volumeA),
		}) {
			nt.Errorf("did %q", got)
		}
		wantOK(nt, nt.publish(volumeA, "b"))
		if e := nt.inspect(nt.target("b")); e.Stale || e.Num != nt.connections(volumeA)[0].Device.Num {
			nt.Errorf("published %+v", e)
		}
		wantOK(nt, nt.unpublish(volumeA, "b"))
		wantOK(nt, nt.unstage(volumeA))
		nt.wantClean(volumeA, "a", "b")
		nt.wait(5 * time.Second)
		nt.want("", "")
	})
}

// What might lose data is not done: the dead mount stays, and nothing is formatted, checked or mounted.
func TestRepairsNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(nt *nodeTest) // before the volume is staged
		happens func(nt *nodeTest) // after its connection was lost
		reports string
	}{
		"another filesystem": {nil, func(nt *nodeTest) { nt.kernel.Reformat(nqnOf(volumeA), "other") }, "RecoveryFailed"},
		"smaller": {nil, func(nt *nodeTest) {
			nt.resizes(func(context.Context, string) (int64, error) { return oneGiB - 1, nil })
		}, "RecoveryFailed"},
		"its device cannot be read": {nil, func(nt *nodeTest) {
			nt.breaks(map[string]error{"Identify": errBroken})
		}, "RecoveryFailed"},
		"its old mount is busy": {nil, func(nt *nodeTest) {
			nt.breaks(map[string]error{"Unmount": errBroken})
		}, "RecoveryFailed"},
		"its NQN is not found any more": {nil, func(nt *nodeTest) {
			nt.breaks(map[string]error{"Connect": errBroken})
		}, "RecoveryFailed"},
		"staged with an unreadable superblock": {func(nt *nodeTest) {
			nt.breaks(map[string]error{"Identify": errBroken})
		}, nil, ""},
		"an NQN without an epoch": {func(nt *nodeTest) { nt.nqn = strings.TrimSuffix(nqnOf(volumeA), ".m0abc123") }, nil, ""},
		"without fencing":         {func(nt *nodeTest) { nt.volumeContext = map[string]string{"fencing": "none"} }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nt := newNodeTest(t, mountCap(writer))
				if c.prepare != nil {
					c.prepare(nt)
				}
				wantOK(t, nt.stage(volumeA))
				before := nt.inspect(nt.staging(volumeA))
				nt.watch()
				nt.kernel.Vanish(nt.connections(volumeA)[0].NQN)
				if c.happens != nil {
					c.happens(nt)
				}
				nt.wait(5 * time.Second)
				nt.want(csi.Lost, "ConnectionFailure StaleMountDetected")
				nt.wait(50 * time.Minute)
				if got := strings.Join(nt.news.reports, " "); got != c.reports {
					t.Errorf("told %q %q, want %q", got, nt.news.texts, c.reports)
				}
				if after := nt.inspect(nt.staging(volumeA)); after.Num != before.Num || !after.Stale {
					t.Errorf("mounted is %+v, was %+v", after, before)
				}
				if nt.did("Restore") || nt.did("Unmount") {
					t.Errorf("did %q", nt.kernel.Ops())
				}
				if slices.Contains(nt.news.recovered, nil) || (len(nt.news.recovered) > 0) != (c.reports != "") {
					t.Errorf("recovered %v", nt.news.recovered)
				}
				if n := len(nt.news.recovered); n > 16 { // 10 s, 20 s and so on, up to 5 minutes
					t.Errorf("%d attempts in 50 minutes", n)
				}
				nt.unwatch()
			})
		})
	}
}

var errBroken = fmt.Errorf("broken: %w", actors.ErrUnavailable)

// A repair that is cut short between the two mounts is finished by the next driver.
func TestRepairCutShort(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.breaks(map[string]error{"Restore": errBroken})
		wantOK(nt, nt.unpublish(volumeA, "a"))
		nt.wait(20 * time.Second)
		if e := nt.inspect(nt.staging(volumeA)); e.Mounted || len(nt.news.recovered) == 0 {
			nt.Fatalf("at the staging path %+v, recovered %v", e, nt.news.recovered)
		}
		wantCode(nt, nt.publish(volumeA, "b"), codes.FailedPrecondition) // not into the empty directory
		nt.breaks(nil)
		nt.update()
		nt.wait(20 * time.Second)
		if e := nt.inspect(nt.staging(volumeA)); !e.Mounted || e.Stale {
			nt.Errorf("at the staging path %+v", e)
		}
	})
}

// A request does not wait for a repair: that ends, and nobody is told that it failed.
func TestRequestComesBeforeRepair(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		begun := 0
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.resizes(func(ctx context.Context, _ string) (int64, error) {
			begun++
			<-ctx.Done()
			return 0, fmt.Errorf("frozen: %w: %w", ctx.Err(), actors.ErrUnavailable)
		})
		wantOK(nt, nt.unpublish(volumeA, "a"))
		nt.wait(20 * time.Second)
		at := time.Now()
		wantOK(nt, nt.unstage(volumeA))
		if begun != 1 || time.Since(at) > 0 {
			nt.Errorf("%d repairs begun, unstage took %v", begun, time.Since(at))
		}
		nt.wait(time.Second)
		nt.want(csi.Lost, "ConnectionFailure StaleMountDetected")
		if len(nt.news.recovered) > 0 {
			nt.Errorf("recovered %v", nt.news.recovered)
		}
		nt.wantClean(volumeA, "a")
	})
}

// What the kernel was asked for already is seen through, before a request begins: it must find the connection, to
// take it down.
func TestRequestWaitsForTheKernel(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		asked, gate := 0, make(chan struct{})
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.resizes(func(ctx context.Context, _ string) (int64, error) {
			if asked++; asked == 1 {
				<-ctx.Done()
				return 0, fmt.Errorf("the kernel goes on: %w: %w", ctx.Err(), actors.ErrUnresolved)
			}
			<-gate
			return oneGiB, nil
		})
		wantOK(nt, nt.unpublish(volumeA, "a"))
		nt.wait(20 * time.Second)
		done := make(chan error, 1)
		go func() { done <- nt.unstage(volumeA) }()
		synctest.Wait()
		if len(done) > 0 || asked != 2 {
			nt.Errorf("unstaged while the kernel was not done, asked %d times", asked)
		}
		close(gate)
		wantOK(nt, <-done)
		nt.wantClean(volumeA, "a")
	})
}

// While a request changes a volume, half of what is there is no finding.
func TestNothingIsToldInTheMiddle(t *testing.T) {
	watched(t, blockCap(writer), func(nt *nodeTest) {
		gate := make(chan struct{})
		nt.mu.Lock()
		nt.fault = func(op, _ string) error {
			if op == "Disconnect" {
				<-gate
			}
			return nil
		}
		nt.mu.Unlock()
		wantOK(nt, nt.unpublish(volumeA, "a"))
		done := make(chan error, 1)
		go func() { done <- nt.unstage(volumeA) }()
		synctest.Wait()
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.wait(time.Minute)
		nt.want(csi.Healthy, "")
		close(gate)
		wantOK(nt, <-done)
		nt.wait(5 * time.Second)
		nt.want("", "")
	})
}

// People are told of a connection that is lost when that lasts, and of a reboot never.
func TestPatience(t *testing.T) {
	watched(t, blockCap(writer), func(nt *nodeTest) {
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
		nt.wait(29 * time.Second)
		nt.want(csi.Waiting, "")
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateLive)
		nt.wait(5 * time.Second)
		nt.want(csi.Healthy, "")
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
		nt.wait(40 * time.Second)
		nt.want(csi.Waiting, "ConnectionFailure")
		nt.kernel.Reboot()
		nt.boot = "boot-2"
		nt.update()
		nt.wait(time.Hour)
		nt.want(csi.Unstaged, "")
	})
}

func TestToldAsMountFailure(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		nt.kernel.Break(nqnOf(volumeA), "was shut down by an error")
		nt.wait(5 * time.Second)
		nt.want(csi.Failed, "MountFailure")
		nt.kernel.Break(nqnOf(volumeA), "")
		nt.kernel.Shrink(nqnOf(volumeA), oneGiB/2)
		nt.wait(5 * time.Second)
		nt.want(csi.Shrunk, "MountFailure")
	})
}

// What cannot be seen is no news, and it is not called healthy.
func TestBlindWatcher(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		nt.breaks(map[string]error{"Survey": errBroken})
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.wait(time.Hour)
		nt.want(csi.Unknown, "")
		if err := os.WriteFile(nt.record(volumeB), []byte("{"), 0o600); err != nil {
			nt.Fatal(err)
		}
		nt.breaks(nil)
		nt.wait(5 * time.Second)
		if want := map[csi.Condition]int{csi.Lost: 1, csi.Unknown: 1}; !maps.Equal(nt.news.counts, want) {
			nt.Errorf("conditions %v, want %v", nt.news.counts, want)
		}
	})
}

// A look at which the kernel did not answer interrupts nothing: what was told is not told again nor counted again, and
// what is to be told is told when it is time.
func TestBlinkingWatcher(t *testing.T) {
	blink := func(nt *nodeTest) {
		nt.Helper()
		nt.breaks(map[string]error{"Survey": errBroken})
		nt.wait(5 * time.Second)
		nt.want(csi.Unknown, "")
		nt.breaks(nil)
	}
	watched(t, blockCap(writer), func(nt *nodeTest) {
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
		nt.wait(20 * time.Second)
		blink(nt)
		nt.wait(20 * time.Second)
		nt.want(csi.Waiting, "ConnectionFailure")
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.wait(5 * time.Second)
		nt.want(csi.Lost, "ConnectionFailure")
		blink(nt)
		nt.wait(5 * time.Second)
		nt.want(csi.Lost, "")
		if nt.news.vanished != 1 {
			nt.Errorf("%d connections vanished, and one did", nt.news.vanished)
		}
	})
}

// Closing the service ends a repair under way.
func TestCloseEndsARepair(t *testing.T) {
	watched(t, mountCap(writer), func(nt *nodeTest) {
		nt.kernel.Vanish(nqnOf(volumeA))
		nt.resizes(func(ctx context.Context, _ string) (int64, error) {
			<-ctx.Done()
			return 0, errors.Join(ctx.Err(), actors.ErrUnavailable)
		})
		wantOK(nt, nt.unpublish(volumeA, "a"))
		nt.wait(20 * time.Second)
		at := time.Now()
		wantOK(nt, nt.node.Close(nt.Context()))
		if d := time.Since(at); d > 0 {
			nt.Errorf("took %v", d)
		}
	})
}
