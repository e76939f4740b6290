// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi/csitest"
)

// newFormatTest returns a node on which mkfs fails once.
func newFormatTest(t *testing.T) *nodeTest {
	t.Helper()
	nt := newNodeTest(t, mountCap(writer))
	failed := false
	nt.kernel = csitest.New(csitest.Config{Fault: func(op, _ string) error {
		if op == "Format" && !failed {
			failed = true
			return actors.ErrUnavailable
		}
		return nil
	}})
	nt.restart()
	return nt
}

func (nt *nodeTest) formats() int {
	return len(slices.DeleteFunc(nt.kernel.Ops(), func(op string) bool { return !strings.HasPrefix(op, "Format ") }))
}

// wantMark fails unless the record says, or does not say, that a format was begun.
func (nt *nodeTest) wantMark(want bool) {
	nt.Helper()
	data, err := os.ReadFile(nt.record(volumeA))
	wantOK(nt, err)
	if got := strings.Contains(string(data), `"formatting": true`); got != want {
		nt.Errorf("the record says that a format was begun: %t, want %t", got, want)
	}
}

// TestFormatIsFinished: what mkfs has left half done is done again, by the same attachment, also after a restart.
func TestFormatIsFinished(t *testing.T) {
	nt := newFormatTest(t)
	wantCode(t, nt.stage(volumeA), codes.Unavailable)
	nt.wantMark(true)
	nt.restart()
	wantOK(t, nt.stage(volumeA))
	nt.wantMark(false) // before any pod has it
	if n := nt.formats(); n != 2 {
		t.Errorf("formatted %d times", n)
	}
	wantOK(t, nt.stage(volumeA))
	wantOK(t, nt.unstage(volumeA))
	nt.wantClean(volumeA)
	wantOK(t, nt.stage(volumeA))
	if n := nt.formats(); n != 2 {
		t.Errorf("formatted %d times", n)
	}
}

// TestFormatIsNotFinished: half a filesystem is left alone by whoever cannot know that it is nothing else.
func TestFormatIsNotFinished(t *testing.T) {
	for name, between := range map[string]func(nt *nodeTest){
		"another attachment": func(nt *nodeTest) { nt.nqn = nqnOf(volumeA) + "1" },
		"unstaged":           func(nt *nodeTest) { wantOK(nt, nt.unstage(volumeA)) },
		"another filesystem": func(nt *nodeTest) { nt.cap.GetMount().FsType = "xfs" },
		"staged since": func(nt *nodeTest) {
			data, err := os.ReadFile(nt.record(volumeA))
			wantOK(nt, err)
			text := strings.Replace(string(data), `"staged": false`, `"staged": true`, 1)
			wantOK(nt, os.WriteFile(nt.record(volumeA), []byte(text), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			nt := newFormatTest(t)
			wantCode(t, nt.stage(volumeA), codes.Unavailable)
			between(nt)
			wantCode(t, nt.stage(volumeA), codes.FailedPrecondition)
			if n := nt.formats(); n != 1 {
				t.Errorf("formatted %d times", n)
			}
		})
	}
	t.Run("unfenced", func(t *testing.T) {
		nt := newFormatTest(t)
		nt.volumeContext = map[string]string{"fencing": "none"}
		wantCode(t, nt.stage(volumeA), codes.Unavailable)
		wantCode(t, nt.stage(volumeA), codes.FailedPrecondition)
		if n := nt.formats(); n != 1 {
			t.Errorf("formatted %d times", n)
		}
	})
}
