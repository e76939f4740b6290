// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// maxEntries bounds a discovery log page; a box exports one subsystem per volume.
const maxEntries = 16 << 10

// discoverySpace is the UUIDv5 name space of the host IDs of host NQNs that do not hold one.
var discoverySpace = uuid.MustParse("0b7a1f0e-52a7-5a51-8d7d-3a8f3c1f5d11")

// errMoving: the log page changed while it was read, again and again.
var errMoving = errors.New("the log page changed while it was read")

// Discover returns the entries of the discovery log page of the target at addr, host:port, that the
// host may see. It connects to the discovery subsystem, and disconnects.
func Discover(ctx context.Context, addr, hostNQN string) ([]tcp.DiscoveryEntry, error) {
	cfg := Config{
		Address: addr, SubsystemNQN: tcp.DiscoveryNQN, HostNQN: hostNQN, HostID: hostIDOf(hostNQN), KeepAlive: -1,
	}.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	a := newAssociation(cfg)
	defer a.close(ErrClosed)
	entries, err := a.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", cfg.Address, err)
	}
	if err := a.shutdown(shutdownTimeout); err != nil {
		cfg.Logger.Warn("not shut down cleanly", "cause", err)
	}
	return entries, nil
}

// hostIDOf returns the UUID in a host NQN of the form nqn.2014-08.org.nvmexpress:uuid:<UUID>, or one
// made from another NQN.
func hostIDOf(nqn string) uuid.UUID {
	if _, s, ok := strings.Cut(nqn, ":uuid:"); ok {
		if id, err := uuid.Parse(s); err == nil && id != uuid.Nil {
			return id
		}
	}
	return uuid.NewSHA1(discoverySpace, []byte(nqn))
}

func (a *association) discover(ctx context.Context) ([]tcp.DiscoveryEntry, error) {
	if err := a.connectAdmin(ctx); err != nil {
		return nil, err
	}
	if a.identity.Type != tcp.ControllerDiscovery {
		return nil, fmt.Errorf("%w: controller type %d, want discovery", ErrProtocol, a.identity.Type)
	}
	for range maxRetries {
		entries, err := a.discoveryLog(ctx)
		if !errors.Is(err, errMoving) {
			return entries, err
		}
	}
	return nil, errMoving
}

// discoveryLog reads the whole page, in parts, and errMoving if its generation changed meanwhile
// (Base 2.0, 5.16.1.23).
func (a *association) discoveryLog(ctx context.Context) ([]tcp.DiscoveryEntry, error) {
	generation, n, err := a.discoveryHeader(ctx)
	if err != nil {
		return nil, err
	}
	if n > maxEntries {
		return nil, fmt.Errorf("%w: discovery log with %d entries, at most %d", ErrProtocol, n, maxEntries)
	}
	const most = 64 // entries in one command
	entries := make([]tcp.DiscoveryEntry, 0, n)
	for len(entries) < int(n) {
		count := min(int(n)-len(entries), most)
		data, err := a.logPage(ctx, "read discovery log", tcp.LogPage{
			ID: tcp.LogDiscovery, Length: count * tcp.DiscoveryEntryLen,
			Offset: tcp.DiscoveryHeaderLen + uint64(len(entries))*tcp.DiscoveryEntryLen,
		})
		if err != nil {
			return nil, err
		}
		for ; len(data) > 0; data = data[tcp.DiscoveryEntryLen:] {
			entry, err := tcp.ParseDiscoveryEntry(data[:tcp.DiscoveryEntryLen])
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
			}
			entries = append(entries, entry)
		}
	}
	after, _, err := a.discoveryHeader(ctx)
	if err == nil && after != generation {
		err = errMoving
	}
	return entries, err
}

func (a *association) discoveryHeader(ctx context.Context) (generation, entries uint64, err error) {
	data, err := a.logPage(ctx, "read discovery log", tcp.LogPage{ID: tcp.LogDiscovery, Length: tcp.DiscoveryHeaderLen})
	if err != nil {
		return 0, 0, err
	}
	return tcp.ParseDiscoveryHeader(data)
}
