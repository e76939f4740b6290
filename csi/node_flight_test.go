// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
)

// hold makes the kernel hang in the volume's Connect until release is called. entered is closed
// once it hangs.
func (nt *nodeTest) hold(id actors.VolumeID) (entered chan struct{}, release func()) {
	entered, gate := make(chan struct{}), make(chan struct{})
	nt.fault = func(op, arg string) error {
		if op == "Connect" && arg == nqnOf(id) {
			close(entered)
			<-gate
		}
		return nil
	}
	return entered, func() { close(gate) }
}

func TestOneOperationPerVolume(t *testing.T) {
	nt := newNodeTest(t, blockCap(sharing))
	entered, release := nt.hold(volumeA)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := nt.node.NodeStageVolume(ctx, nt.stageRequest(volumeA))
		first <- err
	}()
	<-entered

	wantCode(t, nt.unstage(volumeA), codes.Aborted)
	wantCode(t, nt.publish(volumeA, "a"), codes.Aborted)
	wantCode(t, nt.unpublish(volumeA, "a"), codes.Aborted)
	other := nt.stageRequest(volumeA)
	other.StagingTargetPath = nt.staging(volumeB)
	_, err := nt.node.NodeStageVolume(t.Context(), other)
	wantCode(t, err, codes.Aborted)

	// Another volume does not wait.
	wantOK(t, nt.stage(volumeB))
	wantOK(t, nt.publish(volumeB, "b"))

	// A caller may give up, the operation goes on, and its repeat joins it.
	cancel()
	if err := <-first; !errors.Is(err, actors.ErrUnresolved) {
		t.Errorf("got %v, want ErrUnresolved", err)
	}
	repeat := make(chan error, 1)
	go func() { repeat <- nt.stage(volumeA) }()

	// Closing waits for what is under way, and lets nothing else begin.
	if err := nt.node.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	wantCode(t, nt.stage(volumeB), codes.Unavailable)
	release()
	if err := <-repeat; err != nil {
		wantCode(t, err, codes.Unavailable) // it came after the close
	}
	wantOK(t, nt.node.Close(t.Context()))
	connects := 0
	for _, op := range nt.kernel.Ops() {
		if strings.HasPrefix(op, "Connect "+nqnOf(volumeA)) {
			connects++
		}
	}
	if connects != 1 {
		t.Errorf("connected %d times", connects)
	}
}

func TestPanicIsOneAnswer(t *testing.T) {
	nt := newNodeTest(t, blockCap(sharing))
	nt.fault = func(string, string) error { panic("boom") }
	wantCode(t, nt.stage(volumeA), codes.Unavailable) // what it did is not known
	nt.fault = nil
	wantOK(t, nt.stage(volumeA))
}
