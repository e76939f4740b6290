// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import "github.com/rds-csi/rds-csi/nvme/tcp"

// identify executes Identify.
func (q *queue) identify(cmd *command) tcp.Status {
	c := q.ctrl
	cns := uint8(cmd.CDW10)
	if cns == tcp.CNSController {
		id := c.identity()
		return cmd.give(id.Append(nil))
	}
	if c.sub.discovery {
		return tcp.StatusInvalidField
	}
	switch cns {
	case tcp.CNSActiveNamespaces:
		if cmd.NSID >= tcp.BroadcastNSID-1 {
			return tcp.StatusInvalidNamespace
		}
		if cmd.NSID >= nsid { // the list holds what is above
			return cmd.give(tcp.AppendNamespaceList(nil))
		}
		return cmd.give(tcp.AppendNamespaceList(nil, nsid))
	case tcp.CNSDescriptors:
		if cmd.NSID != nsid {
			return tcp.StatusInvalidNamespace
		}
		return cmd.give(tcp.Descriptors{UUID: c.sub.uuid, NGUID: c.sub.uuid, HasCSI: true}.Append(nil))
	case tcp.CNSCommandSet:
		if cmd.CDW11>>24 != 0 { // CSI; 0 is the NVM command set
			return tcp.StatusInvalidField
		}
		return cmd.give(make([]byte, tcp.IdentifyLen)) // no limits beyond MDTS
	}
	return tcp.StatusInvalidField
}

// identifyNamespace executes Identify Namespace.
func (q *queue) identifyNamespace(cmd *command, f Fault) tcp.Status {
	if cmd.NSID != nsid {
		return tcp.StatusInvalidNamespace
	}
	return cmd.give(q.ctrl.sub.identity(q.ctrl.told(f)))
}

// oaes returns the events that the controller can tell.
func (c *controller) oaes() uint32 {
	if c.sub.discovery {
		return tcp.NotifyDiscovery
	}
	return tcp.NotifyNamespace
}

// Values of Identify Controller that have no name elsewhere.
const (
	attrHostID128 = 1 << 0 // CTRATT: 128-bit host identifiers
	attrTBKAS     = 1 << 6 // CTRATT: traffic based keep alive
	firmwareSlot1 = 1<<0 | 1<<1
	lpaEffects    = 1 << 1
	entrySizesSQ  = 6<<4 | 6 // 64 bytes
	entrySizesCQ  = 4<<4 | 4 // 16 bytes
	errorEntries  = 1
)

func (c *controller) identity() tcp.ControllerIdentity {
	cfg := c.t.cfg
	id := tcp.ControllerIdentity{
		Serial: c.sub.serial, Model: cfg.Model, Firmware: cfg.Firmware, RAB: 6,
		MDTS: cfg.mdts(), CNTLID: c.id, Version: tcp.Version13, OAES: c.oaes(), Attributes: attrHostID128 | attrTBKAS,
		Type: tcp.ControllerIO, AbortLimit: 3, AERLimit: aerLimit - 1, FRMW: firmwareSlot1,
		LPA: tcp.LPAExtended | lpaEffects, ErrorEntries: errorEntries - 1, KAS: uint16(keepAliveUnit.Milliseconds() / 100),
		MaxCommands: uint16(cfg.QueueSize), SGLS: tcp.SGLSFabrics, SubNQN: c.sub.nqn,
		IOCCSZ: uint32(tcp.CommandLen+cfg.InCapsule) / 16, IORCSZ: tcp.CompletionLen / 16, MSDBD: 1,
	}
	if c.sub.discovery {
		id.Type = tcp.ControllerDiscovery
		return id
	}
	id.CMIC = tcp.CMICMultiController
	id.SQES, id.CQES = entrySizesSQ, entrySizesCQ
	id.Namespaces, id.MaxNamespaces = 1, 1
	id.ONCS = tcp.ONCSDSM | tcp.ONCSWriteZeroes
	id.VWC = tcp.VWCPresent
	return id
}

// identity returns the Identify Namespace data of NSID 1, of a size in blocks.
func (s *subsystem) identity(blocks uint64) []byte {
	id := tcp.NamespaceIdentity{
		Size: blocks, Capacity: blocks, Utilization: blocks, NMIC: tcp.NMICShared, NGUID: s.uuid, BlockShift: blockShift,
	}
	return id.Append(nil)
}
