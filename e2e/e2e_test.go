// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/rds-csi/rds-csi/e2e/scenario"
)

// toolsVariable names the directory of the control plane's programs and the sidecars. tools/build makes it.
const toolsVariable = "E2E_TOOLS"

// planes is a flag.
var planes = flag.Int("planes", 4, "control planes, and so stories at a time")

// stage is what the scenarios of this run share; nil: there are no tools to run them with.
var stage *scenario.Stage

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run builds the programs, runs the tests, and leaves nothing behind, also when it is interrupted.
func run(m *testing.M) (code int, err error) {
	tools := os.Getenv(toolsVariable)
	if tools == "" {
		return m.Run(), nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := filepath.Abs("..")
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "rds-csi-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	logs := filepath.Join(root, ".cache", "e2e")
	if err := os.RemoveAll(logs); err != nil {
		return 1, err
	}
	klog.SetOutput(os.Stderr)
	klog.LogToStderr(false)
	stage, err = scenario.NewStage(ctx, scenario.Config{Root: root, Tools: tools, Dir: dir, Logs: logs, Planes: *planes})
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if err := stage.Close(); err != nil {
		return code, err
	}
	stop()
	// client-go's log has a goroutine for good.
	if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
		return code, err
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "e2e: logs are in", logs)
	}
	return code, nil
}

// slow are the stories that take longest. They begin first, and the others beside them.
var slow = []string{"api-away", "box-away", "storm", "driver-crash", "lease-lost", "kubevirt-deadline", "standby"}

// TestScenarios runs the stories in testdata. One of them: -run TestScenarios/NAME$
func TestScenarios(t *testing.T) {
	if stage == nil {
		t.Skipf("%s names no directory with a control plane; run make e2e", toolsVariable)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scenarios", err)
	}
	var first []string
	for _, name := range slow {
		file := filepath.Join("testdata", name+".txtar")
		i := slices.Index(files, file)
		if i < 0 {
			t.Fatalf("there is no story %s", name)
		}
		first, files = append(first, file), slices.Delete(files, i, i+1)
	}
	stage.Run(t, append(first, files...)...)
}
