// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi/csitest"
)

// TestGiveUp: after a final code nobody unstages, so that nothing may be left. Where that cannot be
// had, the code says so.
func TestGiveUp(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		for _, broken := range []string{"", "Disconnect"} {
			nt := newNodeTest(t, c)
			nt.kernel = csitest.New(csitest.Config{
				Size: func(context.Context, string) (int64, error) { return oneGiB - 512, nil },
				Fault: func(op, _ string) error {
					if op == broken {
						return actors.ErrPrecondition
					}
					return nil
				},
			})
			nt.restart()
			if broken != "" {
				wantCode(t, nt.stage(volumeA), codes.Unavailable)
				broken = ""
				wantOK(t, nt.unstage(volumeA))
			} else {
				wantCode(t, nt.stage(volumeA), codes.FailedPrecondition)
			}
			nt.wantClean(volumeA)
		}
	})
}

// TestSizeIsRemembered: the contexts of a volume tell its size of when it was attached.
func TestSizeIsRemembered(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		nt := newNodeTest(t, c)
		size := 2 * oneGiB
		nt.kernel = csitest.New(csitest.Config{Size: func(context.Context, string) (int64, error) { return size, nil }})
		nt.restart()
		wantOK(t, nt.stage(volumeA))
		wantOK(t, nt.publish(volumeA, "a"))
		_, err := nt.node.NodeExpandVolume(t.Context(), &csipb.NodeExpandVolumeRequest{VolumeId: string(volumeA), VolumePath: nt.target("a")})
		wantOK(t, err)
		nt.kernel.Reboot()
		nt.restart()
		size = oneGiB // as the publish context says
		wantCode(t, nt.stage(volumeA), codes.FailedPrecondition)
	})
}
