// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/rds-csi/rds-csi/actors"
)

// NodeConfig configures the Node service.
type NodeConfig struct {
	// Node is this node's ID. Required.
	Node actors.NodeID
	// Host is the identity under which this node connects, by actors.HostOf. A publish context that
	// names another host is refused: it was made for another node. Zero: whatever the publish
	// context names, and a publish context without a host is refused.
	Host actors.Host
	// MaxVolumes is how many volumes the node can have at once. Zero: no limit is told.
	MaxVolumes int64
	// StateDir holds a small file per staged volume. It must outlive the process, and is made where
	// it is absent. Required.
	StateDir string
	// Boot identifies this run of the machine, so that what a reboot took is not missed. Empty: not known, and
	// a block volume without a connection may have been lost or not.
	Boot string
	// WatchInterval is the time between two looks of Watch. Zero: 5 seconds.
	WatchInterval time.Duration
	// Timeout bounds one operation, which goes on when its caller gives up. Zero: 2 minutes.
	Timeout time.Duration

	Devices     Devices     // required
	Mounts      Mounts      // required
	Filesystems Filesystems // required
	Surveyor    Surveyor    // required

	// StaleMount is told of each mount that was found without its device, and whether it could be taken
	// down. It must not block. Nil: nobody counts.
	StaleMount func(error)
	// Hooks are told what Watch sees.
	Hooks NodeHooks
	// Logger gets what a caller is not told. Nil: nothing is logged.
	Logger *slog.Logger
}

const defaultNodeTimeout = 2 * time.Minute

// Node is the CSI Node service (CSI 1.13, "Node Service RPC").
//
// An operation on a volume excludes all others on that volume, which are Aborted, except that a
// repeated request joins the first. Different volumes never wait for one another. What is on the
// node decides, not what was recorded of it: the records only add what cannot be seen.
type Node struct {
	csipb.UnimplementedNodeServer

	node       actors.NodeID
	host       actors.Host
	maxVolumes int64

	devices     Devices
	mounts      Mounts
	filesystems Filesystems
	surveyor    Surveyor
	records     *records
	flights     *flights
	staleMount  func(error)
	hooks       NodeHooks
	boot        string
	interval    time.Duration
	watch       watch
	log         *slog.Logger
}

// NewNode returns the Node service. It is ErrInvalid if the configuration is incomplete, and
// another error if the state directory cannot be made.
func NewNode(c NodeConfig) (*Node, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configure node service: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = defaultNodeTimeout
	}
	if c.StaleMount == nil {
		c.StaleMount = func(error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	records, err := openRecords(c.StateDir)
	if err != nil {
		return nil, err
	}
	return &Node{
		node:        c.Node,
		host:        c.Host,
		maxVolumes:  c.MaxVolumes,
		devices:     c.Devices,
		mounts:      c.Mounts,
		filesystems: c.Filesystems,
		surveyor:    c.Surveyor,
		records:     records,
		flights:     newFlights(c.Timeout, c.Logger),
		staleMount:  c.StaleMount,
		hooks:       c.Hooks.filled(),
		boot:        c.Boot,
		interval:    cmp.Or(c.WatchInterval, defaultWatchInterval),
		log:         c.Logger,
	}, nil
}

func (c NodeConfig) check() error {
	errs := []error{c.Node.Check()}
	if c.MaxVolumes < 0 {
		errs = append(errs, fmt.Errorf("max volumes %d is negative: %w", c.MaxVolumes, actors.ErrInvalid))
	}
	if c.Timeout < 0 || c.WatchInterval < 0 {
		errs = append(errs, fmt.Errorf("timeout %v or watch interval %v is negative: %w", c.Timeout, c.WatchInterval, actors.ErrInvalid))
	}
	if (c.Host.NQN == "") != (c.Host.ID == "") {
		errs = append(errs, fmt.Errorf("host needs both an NQN and an ID: %w", actors.ErrInvalid))
	}
	if err := checkPath("state directory", c.StateDir); err != nil {
		errs = append(errs, err)
	}
	if c.Devices == nil || c.Mounts == nil || c.Filesystems == nil || c.Surveyor == nil {
		errs = append(errs, fmt.Errorf("devices, mounts, filesystems and a surveyor are required: %w", actors.ErrInvalid))
	}
	return errors.Join(errs...)
}

// Close refuses further operations and waits for those under way, or for ctx.
func (n *Node) Close(ctx context.Context) error { return n.flights.close(ctx) }

// NodeGetInfo tells this node's ID, which is its Kubernetes node name.
func (n *Node) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return &csipb.NodeGetInfoResponse{NodeId: string(n.node), MaxVolumesPerNode: n.maxVolumes}, nil
}

// NodeGetCapabilities tells what this service can do.
func (n *Node) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	resp := &csipb.NodeGetCapabilitiesResponse{}
	for _, t := range []csipb.NodeServiceCapability_RPC_Type{
		csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csipb.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csipb.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		capabilityVolumeCondition,
	} {
		resp.Capabilities = append(resp.Capabilities, &csipb.NodeServiceCapability{
			Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}
