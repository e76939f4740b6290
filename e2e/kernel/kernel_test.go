// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// What the script that runs the stories tells: the directory of what guests are made of, QEMU, and where to save what
// all stories together tell, empty where some are left out.
const (
	guestVariable  = "E2E_GUEST"
	qemuVariable   = "E2E_QEMU"
	reportVariable = "E2E_REPORT"
)

// A theatre is what the stages of a run share.
type theatre struct {
	context.Context // ends when the run is interrupted

	parts guest.Parts
	dir   string // for stages
	logs  string // for those of stages on which a story failed

	booting sync.Mutex // held while a stage boots
}

// here is where this run's stories are told; nil: there is nothing to make guests of.
var here *theatre

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run builds guests, runs the tests, and leaves nothing behind, also when it is interrupted.
func run(m *testing.M) (code int, err error) {
	fetched, qemu := os.Getenv(guestVariable), os.Getenv(qemuVariable)
	if fetched == "" || qemu == "" {
		return m.Run(), nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "kernel-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	here = &theatre{Context: ctx, dir: dir, logs: filepath.Join(root, ".cache", "e2e-kernel")}
	if err := os.RemoveAll(here.logs); err != nil {
		return 1, err
	}
	here.parts = guest.Parts{Fetched: fetched, QEMU: qemu, Root: root, Dir: filepath.Join(dir, "parts")}
	if err := here.parts.Build(ctx); err != nil {
		return 1, err
	}
	if code = m.Run(); code != 0 {
		return code, fmt.Errorf("logs are in %s", here.logs)
	}
	stop()
	return code, goleak.Find()
}

// stage makes the stage of one kernel's stories, which ends with the test.
func (th *theatre) stage(t *testing.T, k string) *kernel.Stage {
	t.Helper()
	// With -count the tests run again.
	dir, err := os.MkdirTemp(th.dir, k+"-")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			must(t, kernel.KeepLogs(dir, filepath.Join(th.logs, filepath.Base(dir))))
		}
	})
	st, err := kernel.NewStage(t.Context(), kernel.Config{Parts: th.parts, Dir: dir, Nodes: []string{"node-a", "node-b"}})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close(context.Background())) }) // the test's context has ended
	return st
}

// boot boots a stage's nodes, one stage at a time: booting is work, and a guest that waits for a processor is not to be
// taken for one that hangs.
func (th *theatre) boot(ctx context.Context, st *kernel.Stage, k string) ([]*guest.Node, error) {
	th.booting.Lock()
	defer th.booting.Unlock()
	return st.Boot(ctx, k)
}

// A story is about two nodes of one kernel.
type story struct {
	*kernel.Stage
	a, b   *guest.Node
	linux  string // one of guest.Kernels
	report *kernel.Report
}

// A telling is a story by its name.
type telling struct {
	name string
	tell func(t *testing.T, s story)
}

// stories are told for each kernel, on nodes that stay up until the last one ends one of them.
var stories = []telling{
	{"Introduction", introduction},
	{"Lifecycle", lifecycle},
	{"TwoNodes", twoNodes},
	{"Expand", expand},
	{"Restart", restart},
	{"Faults", faults},
	{"GivenUp", givenUp},
	{"Fence", fence},
	{"Migration", migration},
	{"Format", format},
	{"Refused", refused},
	{"Killed", killed},
	{"Resize", resize},
	{"Crash", crash},
}

// TestKernel tells the stories, on all kernels side by side. One of them: -run TestKernel/6.12/Expand
func TestKernel(t *testing.T) {
	if here == nil {
		t.Skipf("%s and %s tell of no guests; run make e2e-kernel", guestVariable, qemuVariable)
	}
	report := kernel.NewReport(guest.Kernels)
	t.Cleanup(func() {
		if path := os.Getenv(reportVariable); path != "" && !t.Failed() {
			must(t, report.Save(path))
		}
	})
	for i, k := range guest.Kernels {
		t.Run(k, func(t *testing.T) {
			t.Parallel()
			here.tell(t, k, order(i), report)
		})
	}
}

// order returns the stories as the kernel at a place among the kernels tells them: round about from one of its own. Some
// stories wait for most of the time, and one keeps all processors busy; told at the same time it would take twice as long.
func order(place int) []telling {
	n := len(stories) - 1
	first := place * n / len(guest.Kernels)
	return slices.Concat(stories[first:n], stories[:first], stories[n:])
}

// tell tells stories of one kernel, on a stage of its own.
func (th *theatre) tell(t *testing.T, k string, stories []telling, report *kernel.Report) {
	st := th.stage(t, k)
	nodes, err := th.boot(t.Context(), st, k)
	must(t, err)
	t.Logf("the nodes run Linux %s", nodes[0].Kernel())
	told := 0
	for _, one := range stories {
		must(t, context.Cause(th))
		if t.Run(one.name, func(t *testing.T) { told++; one.tell(t, story{st, nodes[0], nodes[1], k, report}) }) {
			continue
		}
		// What a story that failed has left behind is not the next one's.
		must(t, st.Know(t.Context(), nodes[0].Name(), nodes[1].Name()))
		nodes, err = th.boot(t.Context(), st, k)
		must(t, err)
	}
	if told == len(stories) {
		report.Close(k, nodes[0].Kernel())
	}
}

// must fails a story for an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
