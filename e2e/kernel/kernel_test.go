// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

// What the script that runs the stories tells: the directory of what guests are made of, and QEMU.
const (
	guestVariable = "E2E_GUEST"
	qemuVariable  = "E2E_QEMU"
)

// stage is what the stories of this run share; nil: there is nothing to make guests of.
var stage *kernel.Stage

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
	logs := filepath.Join(root, ".cache", "e2e-kernel")
	if err := os.RemoveAll(logs); err != nil {
		return 1, err
	}
	parts := guest.Parts{Fetched: fetched, QEMU: qemu, Root: root, Dir: filepath.Join(dir, "parts")}
	if err := parts.Build(ctx); err != nil {
		return 1, err
	}
	if stage, err = kernel.NewStage(ctx, kernel.Config{Parts: parts, Dir: dir, Nodes: []string{"node-a", "node-b"}}); err != nil {
		return 1, err
	}
	code = m.Run()
	err = stage.Close(ctx)
	if code != 0 || err != nil {
		return max(code, 1), errors.Join(err, stage.KeepLogs(logs), fmt.Errorf("logs are in %s", logs))
	}
	stop()
	return code, goleak.Find()
}

// A story is about two nodes of one kernel.
type story struct {
	*kernel.Stage
	a, b *guest.Node
}

// stories are told for each kernel, in this order, on nodes that stay up.
var stories = []struct {
	name string
	tell func(t *testing.T, s story)
}{
	{"Introduction", introduction},
	{"Lifecycle", lifecycle},
	{"TwoNodes", twoNodes},
	{"Expand", expand},
	{"Restart", restart},
	{"Faults", faults},
	{"Fence", fence},
	{"Crash", crash},
}

// TestKernel tells the stories. One of them: -run TestKernel/6.12/Expand
func TestKernel(t *testing.T) {
	if stage == nil {
		t.Skipf("%s and %s tell of no guests; run make e2e-kernel", guestVariable, qemuVariable)
	}
	for _, k := range guest.Kernels {
		t.Run(k, func(t *testing.T) {
			nodes, err := stage.Boot(t.Context(), k)
			must(t, err)
			t.Logf("the nodes run Linux %s", nodes[0].Kernel())
			for _, st := range stories {
				if t.Run(st.name, func(t *testing.T) { st.tell(t, story{stage, nodes[0], nodes[1]}) }) {
					continue
				}
				// What a story that failed has left behind is not the next one's.
				must(t, stage.Know(t.Context(), nodes[0].Name(), nodes[1].Name()))
				nodes, err = stage.Boot(t.Context(), k)
				must(t, err)
			}
		})
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
