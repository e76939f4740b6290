// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package actors

import (
	"strings"

	"github.com/google/uuid"
)

// hostSpace is the UUIDv5 name space of host identities. It must never change: it is in every
// allow list and in every connected kernel.
var hostSpace = uuid.MustParse("6a0f38a1-71ab-5f3c-9d9b-0f9d0a8f1c11")

// DefaultNQNPrefix is the prefix of a volume's NQN where its StorageClass names none. Ledgers leave it out,
// so it must never change.
const DefaultNQNPrefix = "nqn.2000-02.com.mikrotik"

// A Host is the identity under which a node connects to NVMe subsystems (NVMe Base 2.0, 4.5 "NVMe
// Qualified Names", and the Host Identifier feature).
type Host struct {
	NQN string // nqn.2014-08.org.nvmexpress:uuid:<ID>
	ID  string // RFC 4122 text form
}

// HostOf derives the identity of a node. The controller knows it without asking the node, and the
// node keeps it over restarts. cluster is the 12 hex digits of the ledger.
func HostOf(cluster string, node NodeID) Host {
	id := uuid.NewSHA1(hostSpace, []byte(cluster+"/"+string(node))).String()
	return Host{NQN: "nqn.2014-08.org.nvmexpress:uuid:" + id, ID: id}
}

// NQNPrefix returns what stands before ":<volume>" in a volume's NQN, and false if the NQN does not
// name the volume.
func NQNPrefix(nqn string, id VolumeID) (string, bool) {
	prefix, rest, ok := strings.Cut(nqn, ":"+string(id))
	return prefix, ok && (rest == "" || rest[0] == '.')
}

// epochOf returns the epoch of a volume's NQN, and 0 where it has none.
func epochOf(nqn string, id VolumeID) Token {
	_, rest, _ := strings.Cut(nqn, ":"+string(id)+".")
	epoch, err := parseToken(rest)
	if err != nil {
		return 0
	}
	return epoch
}

// Supersedes reports whether a volume's NQN is of a later attachment than another one. Where it is exported, the
// earlier one is not, and never is again: an epoch is used once.
func Supersedes(nqn, earlier string, id VolumeID) bool {
	prefix, ok := NQNPrefix(nqn, id)
	before, named := NQNPrefix(earlier, id)
	epoch := epochOf(earlier, id)
	return ok && named && prefix == before && epoch != 0 && epochOf(nqn, id) > epoch
}

// NQN returns "<prefix>:<volume>", or "<prefix>:<volume>.<epoch>" where there is an epoch.
func NQN(prefix string, id VolumeID, epoch Token) string {
	nqn := prefix + ":" + string(id)
	if epoch == 0 {
		return nqn
	}
	return nqn + "." + epoch.String()
}
