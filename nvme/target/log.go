// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"encoding/binary"
	"net"
	"slices"
	"strconv"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// logPage executes Get Log Page.
func (q *queue) logPage(cmd *command) tcp.Status {
	l := cmd.LogPage()
	if l.Length > q.t.cfg.MaxData || l.Offset%4 != 0 {
		return tcp.StatusInvalidField
	}
	if cmd.SGL.ID != tcp.SGLTransport || int64(cmd.SGL.Length) != int64(l.Length) {
		return tcp.StatusSGLDataLength
	}
	page := q.logContent(l)
	if page == nil {
		return tcp.StatusInvalidField // as nvmet; Invalid Log Page is for those that it knows
	}
	data := make([]byte, l.Length)
	if l.Offset < uint64(len(page)) {
		copy(data, page[l.Offset:])
	}
	return cmd.give(data)
}

// logContent returns a whole log page, or nil if there is none.
func (q *queue) logContent(l tcp.LogPage) []byte {
	if q.ctrl.sub.discovery {
		if l.ID != tcp.LogDiscovery {
			return nil
		}
		if !l.Retain {
			q.ctrl.acknowledge(tcp.NotifyDiscovery)
		}
		return q.discoveryLog()
	}
	switch l.ID {
	case tcp.LogErrors:
		return make([]byte, errorEntries*tcp.ErrorLogEntryLen)
	case tcp.LogSMART:
		return smartLog()
	case tcp.LogFirmwareSlots:
		return firmwareLog(q.t.cfg.Firmware)
	case tcp.LogChangedNS:
		if !l.Retain {
			q.ctrl.acknowledge(tcp.NotifyNamespace)
		}
		return q.ctrl.changedList(l.Retain)
	case tcp.LogEffects:
		return effectsLog()
	}
	return nil
}

// smartLog returns a SMART page of a healthy device at 25 °C (Base 2.0, 5.16.1.3).
func smartLog() []byte {
	b := make([]byte, tcp.SMARTLogLen)
	binary.LittleEndian.PutUint16(b[1:], 273+25) // composite temperature
	b[3] = 100                                   // available spare
	return b
}

// firmwareLog returns a page with one slot, which is active (Base 2.0, 5.16.1.4).
func firmwareLog(revision string) []byte {
	b := make([]byte, tcp.FirmwareLogLen)
	b[0] = 1
	copy(b[8:16], "        ")
	copy(b[8:16], revision)
	return b
}

// effectsLog says which commands there are and which of them change data (Base 2.0, 5.16.1.6).
func effectsLog() []byte {
	const supported, changesData = 1, 1 << 1
	b := make([]byte, tcp.EffectsLogLen)
	set := func(table int, effect uint32, opcodes ...int) {
		for _, op := range opcodes {
			binary.LittleEndian.PutUint32(b[table+4*op:], effect)
		}
	}
	const admin, io = 0, 1024
	set(admin, supported, tcp.OpGetLogPage, tcp.OpIdentify, tcp.OpAbort, tcp.OpSetFeatures, tcp.OpGetFeatures,
		tcp.OpAsyncEventReq, tcp.OpKeepAlive)
	set(io, supported, tcp.OpRead, tcp.OpFlush)
	set(io, supported|changesData, tcp.OpWrite, tcp.OpWriteZeroes, tcp.OpDSM)
	return b
}

// discoveryLog lists what the host may connect to on the port it asks: at the address it used.
func (q *queue) discoveryLog() []byte {
	q.t.mu.Lock()
	generation := q.port.generation
	var nqns []string
	for nqn := range q.port.links {
		if s := q.t.subsystems[nqn]; s != nil && s.allows(q.ctrl.hostNQN) {
			nqns = append(nqns, nqn)
		}
	}
	q.t.mu.Unlock()
	slices.Sort(nqns)
	entries := make([]tcp.DiscoveryEntry, 0, len(nqns))
	for _, nqn := range nqns {
		e := tcp.DiscoveryEntry{
			Transport: tcp.TransportTCP, Subtype: tcp.SubtypeNVM, PortID: q.port.id, CNTLID: tcp.AnyController,
			AdminSize: uint16(min(q.t.cfg.QueueSize, adminEntries)), SubNQN: nqn,
		}
		e.Family, e.Address, e.ServiceID = reached(q.conn.LocalAddr())
		entries = append(entries, e)
	}
	return tcp.AppendDiscoveryLog(nil, generation, entries)
}

// adminEntries is the size of admin queues that discovery recommends.
const adminEntries = 32

// reached splits the address by which a host reached the target.
func reached(addr net.Addr) (family uint8, address, service string) {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return tcp.FamilyIPv4, "", ""
	}
	family = tcp.FamilyIPv6
	if a.IP.To4() != nil {
		family = tcp.FamilyIPv4
	}
	return family, a.IP.String(), strconv.Itoa(a.Port)
}
