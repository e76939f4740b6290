// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"fmt"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"google.golang.org/grpc"
)

// The phases of a storm. Detach comes twice: after the migrations and after the doubled attaches.
const (
	Create      = "create"
	Attach      = "attach"
	MigrateIn   = "migrate-in"   // each volume is published to a second node
	MigrateOut  = "migrate-out"  // each volume is unpublished from its first node
	Detach      = "detach"       //
	AttachTwice = "attach-twice" // each publish is sent twice at once, as the attacher does
	Delete      = "delete"
)

// A Phase is what was measured of one phase.
type Phase struct {
	Name      string
	Elapsed   time.Duration   // from the first call to the last answer
	Latencies []time.Duration // one for each call
	// Commands is how many commands the box was sent meanwhile, by kind, those included that the
	// driver sends on its own account. Nil: they were not counted.
	Commands map[string]float64
}

// Run lets a storm loose on a driver that is ready and has no volumes, and leaves none behind. The
// error names the first wrong answer.
func Run(ctx context.Context, conn grpc.ClientConnInterface, cfg Config) ([]Phase, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &storm{
		cfg:     cfg,
		csi:     csipb.NewControllerClient(conn),
		ids:     make([]string, cfg.Volumes),
		context: make([]map[string]string, cfg.Volumes),
		nodes:   NodeNames(cfg.Nodes),
	}
	for i := range s.ids {
		s.ids[i] = volumeName(cfg.Round, i)
	}
	for _, step := range []struct {
		phase   string
		run     func(context.Context, string) error
		holders func(volume int) []string // who has the volume afterwards; nil: there are no volumes
	}{
		{Create, s.create, s.nobody},
		{Attach, s.attach, s.source},
		{MigrateIn, s.migrateIn, s.both},
		{MigrateOut, s.migrateOut, s.target},
		{Detach, s.detachTarget, s.nobody},
		{AttachTwice, s.attachTwice, s.source},
		{Detach, s.detachSource, s.nobody},
		{Delete, s.remove, nil},
	} {
		if err := step.run(ctx, step.phase); err != nil {
			return nil, fmt.Errorf("%s: %w", step.phase, err)
		}
		if err := s.checkList(ctx, step.holders); err != nil {
			return nil, fmt.Errorf("list after %s: %w", step.phase, err)
		}
	}
	return s.phases, nil
}

// names is the UUIDv5 name space of the volumes of storms.
var names = uuid.MustParse("2f7a1a52-0d4b-5b0e-8f0b-6e0f9a3c7d10")

// volumeName returns a name that is the volume's ID as well.
func volumeName(round, volume int) string {
	return "pvc-" + uuid.NewSHA1(names, fmt.Appendf(nil, "%d/%d", round, volume)).String()
}

// A storm is one under way. Its fields change between phases only.
type storm struct {
	cfg     Config
	csi     csipb.ControllerClient
	ids     []string
	nodes   []string
	context []map[string]string // the volume context of each volume
	publish []map[string]string // the publish context that the first node of each volume got
	phases  []Phase
}

func (s *storm) source(volume int) []string { return []string{s.nodes[volume%len(s.nodes)]} }
func (s *storm) target(volume int) []string { return []string{s.nodes[(volume+1)%len(s.nodes)]} }
func (s *storm) both(volume int) []string   { return append(s.source(volume), s.target(volume)...) }
func (s *storm) nobody(int) []string        { return nil }

// block is how KubeVirt claims the disk of a VM that may migrate: ReadWriteMany, volumeMode Block.
func block() *csipb.VolumeCapability {
	return &csipb.VolumeCapability{
		AccessType: &csipb.VolumeCapability_Block{Block: &csipb.VolumeCapability_BlockVolume{}},
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
}

func (s *storm) create(ctx context.Context, phase string) error {
	contexts, err := s.all(ctx, phase, 1, func(ctx context.Context, v int) (map[string]string, error) {
		resp, err := s.csi.CreateVolume(ctx, &csipb.CreateVolumeRequest{
			Name:               s.ids[v],
			CapacityRange:      &csipb.CapacityRange{RequiredBytes: s.cfg.Size, LimitBytes: s.cfg.Size},
			VolumeCapabilities: []*csipb.VolumeCapability{block()},
			Parameters:         s.cfg.Parameters,
		})
		if err != nil {
			return nil, err
		}
		if got := resp.GetVolume(); got.GetVolumeId() != s.ids[v] || got.GetCapacityBytes() != s.cfg.Size {
			return nil, fmt.Errorf("made %q of %d bytes, asked for was %d", got.GetVolumeId(), got.GetCapacityBytes(), s.cfg.Size)
		}
		return resp.GetVolume().GetVolumeContext(), nil
	})
	if err != nil {
		return err
	}
	for v := range s.ids {
		s.context[v] = contexts[v][0]
	}
	return nil
}

// publishTo asks for the volume on the one node that to names.
func (s *storm) publishTo(to func(int) []string) call {
	return func(ctx context.Context, v int) (map[string]string, error) {
		resp, err := s.csi.ControllerPublishVolume(ctx, &csipb.ControllerPublishVolumeRequest{
			VolumeId: s.ids[v], NodeId: to(v)[0], VolumeCapability: block(), VolumeContext: s.context[v],
		})
		return resp.GetPublishContext(), err
	}
}

func (s *storm) unpublishFrom(from func(int) []string) call {
	return func(ctx context.Context, v int) (map[string]string, error) {
		_, err := s.csi.ControllerUnpublishVolume(ctx, &csipb.ControllerUnpublishVolumeRequest{
			VolumeId: s.ids[v], NodeId: from(v)[0],
		})
		return nil, err
	}
}

func (s *storm) attach(ctx context.Context, phase string) error {
	contexts, err := s.all(ctx, phase, 1, s.publishTo(s.source))
	if err != nil {
		return err
	}
	s.publish = make([]map[string]string, len(contexts))
	for v, c := range contexts {
		if s.publish[v] = c[0]; len(c[0]) == 0 {
			return fmt.Errorf("volume %s was published without a publish context", s.ids[v])
		}
	}
	return nil
}

func (s *storm) migrateIn(ctx context.Context, phase string) error {
	contexts, err := s.all(ctx, phase, 1, s.publishTo(s.target))
	if err != nil {
		return err
	}
	for v, c := range contexts {
		if err := sameDisk(s.publish[v], c[0]); err != nil {
			return fmt.Errorf("volume %s for its second node: %w", s.ids[v], err)
		}
	}
	return nil
}

// sameDisk checks that two nodes are led to one disk: the VM's pages are copied, its disk is not.
func sameDisk(a, b map[string]string) error {
	for _, key := range []string{"nvme_address", "nvme_port", "nvme_nqn"} {
		if a[key] == "" || a[key] != b[key] {
			return fmt.Errorf("%s is %q, the first node's is %q", key, b[key], a[key])
		}
	}
	return nil
}

func (s *storm) attachTwice(ctx context.Context, phase string) error {
	contexts, err := s.all(ctx, phase, 2, s.publishTo(s.source))
	if err != nil {
		return err
	}
	for v, c := range contexts {
		if err := sameDisk(c[0], c[1]); err != nil {
			return fmt.Errorf("volume %s, published twice: %w", s.ids[v], err)
		}
	}
	return nil
}

func (s *storm) migrateOut(ctx context.Context, phase string) error {
	_, err := s.all(ctx, phase, 1, s.unpublishFrom(s.source))
	return err
}

func (s *storm) detachTarget(ctx context.Context, phase string) error {
	_, err := s.all(ctx, phase, 1, s.unpublishFrom(s.target))
	return err
}

func (s *storm) detachSource(ctx context.Context, phase string) error {
	_, err := s.all(ctx, phase, 1, s.unpublishFrom(s.source))
	return err
}

func (s *storm) remove(ctx context.Context, phase string) error {
	_, err := s.all(ctx, phase, 1, func(ctx context.Context, v int) (map[string]string, error) {
		_, err := s.csi.DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: s.ids[v]})
		return nil, err
	})
	return err
}
