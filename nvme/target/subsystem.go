// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package target

import (
	"encoding/hex"
	"slices"

	"github.com/google/uuid"
)

// A subsystem is a Subsystem with its state. The mutable fields are guarded by Target.mu.
type subsystem struct {
	nqn       string
	storage   Storage // nil for discovery
	uuid      uuid.UUID
	serial    string
	discovery bool

	hosts       []string // nil: any
	controllers map[uint16]*controller
}

func newSubsystem(s Subsystem, discovery bool) *subsystem {
	if s.UUID == uuid.Nil {
		s.UUID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(s.NQN))
	}
	if s.Serial == "" {
		s.Serial = hex.EncodeToString(s.UUID[:8])
	}
	return &subsystem{
		nqn: s.NQN, storage: s.Storage, uuid: s.UUID, serial: s.Serial, discovery: discovery,
		hosts: slices.Clone(s.Hosts), controllers: make(map[uint16]*controller),
	}
}

func (s *subsystem) allows(hostNQN string) bool {
	return s.hosts == nil || slices.Contains(s.hosts, hostNQN)
}

// match returns the controllers for which keep is true. A nil subsystem has none.
func (s *subsystem) match(keep func(*controller) bool) (list []*controller) {
	if s == nil {
		return nil
	}
	for _, c := range s.controllers {
		if keep(c) {
			list = append(list, c)
		}
	}
	return list
}

// blocks returns the size of the namespace.
func (s *subsystem) blocks() uint64 { return uint64(max(s.storage.Size(), 0)) >> blockShift }
