// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
	"github.com/rds-csi/rds-csi/nvme"
)

// stats returns the usage of volumeA at a path, and its condition as a kubelet reads it that was built with
// CSI 1.12: field 2 of the answer is VolumeCondition{abnormal = 1, message = 2}.
func (nt *nodeTest) stats(path string) (usage []*csipb.VolumeUsage, abnormal bool, message string) {
	nt.Helper()
	resp, err := nt.node.NodeGetVolumeStats(context.Background(), &csipb.NodeGetVolumeStatsRequest{VolumeId: string(volumeA), VolumePath: path})
	wantOK(nt, err)
	wire, err := proto.Marshal(resp)
	wantOK(nt, err)
	condition := field(nt, wire, 2)
	if len(condition) == 0 {
		nt.Fatal("no condition: an old kubelet takes that for a healthy volume")
	}
	flag := fieldOf(condition, 1)
	n, used := protowire.ConsumeVarint(flag)
	if used < 0 {
		nt.Fatalf("abnormal is not a bool: %x", condition)
	}
	return resp.GetUsage(), protowire.DecodeBool(n), string(field(nt, condition, 2))
}

// field returns the bytes of a length-delimited field.
func field(t testing.TB, wire []byte, number protowire.Number) []byte {
	t.Helper()
	value := fieldOf(wire, number)
	if value == nil {
		return nil
	}
	b, n := protowire.ConsumeBytes(value)
	if n < 0 {
		t.Fatalf("field %d of %x: %v", number, wire, protowire.ParseError(n))
	}
	return b
}

// fieldOf returns a field's encoded value and what follows, or nil.
func fieldOf(wire []byte, number protowire.Number) []byte {
	for len(wire) > 0 {
		num, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return nil
		}
		if wire = wire[n:]; num == number {
			return wire
		}
		wire = wire[protowire.ConsumeFieldValue(num, kind, wire):]
	}
	return nil
}

// The condition is told with the usage, and it does not lie.
func TestStatsTellTheCondition(t *testing.T) {
	eachAccess(t, func(t *testing.T, c *csipb.VolumeCapability) {
		for name, test := range map[string]struct {
			happens func(nt *nodeTest)
			says    string // "": healthy
			total   int64  // 0: the usage is left out
		}{
			"healthy":      {func(*nodeTest) {}, "", oneGiB},
			"reconnecting": {func(nt *nodeTest) { nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting) }, "I/O waits", oneGiB},
			"vanished":     {func(nt *nodeTest) { nt.kernel.Vanish(nqnOf(volumeA)) }, "given up the connection", map[bool]int64{true: oneGiB}[c.GetBlock() != nil]},
			"shrunk":       {func(nt *nodeTest) { nt.kernel.Shrink(nqnOf(volumeA), oneGiB/2) }, "do not write to it", oneGiB / 2},
			"not seen":     {func(nt *nodeTest) { nt.breaks(map[string]error{"Survey": errBroken}) }, "cannot be seen", oneGiB},
		} {
			t.Run(name, func(t *testing.T) {
				nt := newNodeTest(t, c)
				wantOK(t, nt.stage(volumeA))
				wantOK(t, nt.publish(volumeA, "a"))
				test.happens(nt)
				usage, abnormal, message := nt.stats(nt.target("a"))
				if abnormal != (test.says != "") || !strings.Contains(message, test.says) || message == "" {
					t.Errorf("abnormal=%t: %q", abnormal, message)
				}
				if (len(usage) > 0) != (test.total > 0) || (len(usage) > 0 && usage[0].GetTotal() != test.total) {
					t.Errorf("usage %v, want %d", usage, test.total)
				}
			})
		}
	})
}

// What somebody else staged has a condition, too.
func TestStatsWithoutRecord(t *testing.T) {
	nt := newNodeTest(t, mountCap(writer))
	conn := nvme.Target{NQN: nqnOf(volumeA), Size: oneGiB}
	dev, err := nt.kernel.Connect(t.Context(), conn)
	wantOK(t, err)
	wantOK(t, nt.kernel.Mount(t.Context(), dev, nt.staging(volumeA), nvme.Filesystem{Type: "ext4"}))
	if _, abnormal, message := nt.stats(nt.staging(volumeA)); abnormal {
		t.Errorf("abnormal: %q", message)
	}
	nt.kernel.SetState(conn.NQN, nvme.StateConnecting)
	if _, abnormal, message := nt.stats(nt.staging(volumeA)); !abnormal || !strings.Contains(message, "reconnecting") {
		t.Errorf("abnormal=%t: %q", abnormal, message)
	}
}

// A kernel that blocks where it should not costs a kubelet some seconds and no more.
func TestStatsDoNotHang(t *testing.T) {
	for _, op := range []string{"Usage", "Survey"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nt := newNodeTest(t, mountCap(writer))
				nt.surveyor, nt.filesystems = hung{nt, op == "Survey"}, hungFiles{nt.kernel, op == "Usage"}
				nt.restart()
				wantOK(t, nt.stage(volumeA))
				nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
				at := time.Now()
				_, abnormal, message := nt.stats(nt.staging(volumeA))
				if !abnormal || time.Since(at) > 10*time.Second {
					t.Errorf("abnormal=%t after %v: %q", abnormal, time.Since(at), message)
				}
				nt.kernel.SetState(nqnOf(volumeA), nvme.StateLive)
				if op == "Usage" { // a healthy volume's is not left out without a word
					_, err := nt.node.NodeGetVolumeStats(t.Context(), &csipb.NodeGetVolumeStatsRequest{VolumeId: string(volumeA), VolumePath: nt.staging(volumeA)})
					wantCode(t, err, codes.Unavailable)
				}
			})
		})
	}
}

// hung answers no look, or every.
type hung struct {
	*nodeTest
	hangs bool
}

func (h hung) Survey(ctx context.Context, v map[actors.VolumeID][]string) (map[actors.VolumeID]nvme.Sight, error) {
	if !h.hangs {
		return h.kernel.Survey(ctx, v)
	}
	<-ctx.Done()
	return nil, fmt.Errorf("look: %w: %w", context.Cause(ctx), actors.ErrUnresolved)
}

// hungFiles tells nobody how full a filesystem is, or everybody.
type hungFiles struct {
	csi.Filesystems
	hangs bool
}

func (h hungFiles) Usage(ctx context.Context, path string) (nvme.Usage, error) {
	if !h.hangs {
		return h.Filesystems.Usage(ctx, path)
	}
	<-ctx.Done()
	return nvme.Usage{}, errors.Join(context.Cause(ctx), actors.ErrUnresolved)
}

// Since when it is so is told, as far as the watcher saw it.
func TestStatsTellSince(t *testing.T) {
	watched(t, blockCap(writer), func(nt *nodeTest) {
		nt.kernel.SetState(nqnOf(volumeA), nvme.StateConnecting)
		if _, _, message := nt.stats(nt.target("a")); strings.Contains(message, "since") {
			nt.Errorf("nobody looked, and yet: %q", message)
		}
		nt.wait(20 * time.Second)
		if _, _, message := nt.stats(nt.target("a")); !strings.HasPrefix(message, "since 2000-01-01T00:00:05Z: the connection to "+nqnOf(volumeA)) {
			nt.Errorf("message %q", message)
		}
	})
}
