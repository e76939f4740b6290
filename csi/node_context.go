// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
)

const (
	hostNQNPrefix = "nqn.2014-08.org.nvmexpress:uuid:"
	maxNQN        = 223 // NVMe Base 2.0, 4.5
)

var (
	nqnForm      = regexp.MustCompile(`^nqn\.[0-9]{4}-[0-9]{2}\.[A-Za-z0-9._:/-]+$`)
	hostIDForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	hostnameForm = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$`)
)

// parseTarget reads where a volume is from the contexts that its controller made. The values end up
// in a comma-separated command to the kernel, so that none may hold anything unexpected. Anything
// malformed is ErrInvalid, a context for another node ErrPrecondition.
func parseTarget(id actors.VolumeID, host actors.Host, publish, volume map[string]string) (nvme.Target, error) {
	t := nvme.Target{NQN: publish[publishNQN], Address: publish[publishAddress]}
	if err := checkNQN(id, t.NQN); err != nil {
		return nvme.Target{}, err
	}
	// A zone may hold anything, so an address with one is refused.
	if addr, err := netip.ParseAddr(t.Address); (err != nil || addr.Zone() != "") && !hostnameForm.MatchString(t.Address) {
		return nvme.Target{}, contextError(publishAddress, t.Address, "an IP address or a host name")
	}
	port, err := strconv.ParseUint(publish[publishPort], 10, 16)
	if err != nil || port == 0 {
		return nvme.Target{}, contextError(publishPort, publish[publishPort], "a TCP port")
	}
	t.Port = uint16(port)
	if t.Host, err = parseHost(host, publish[publishHostNQN], publish[publishHostID]); err != nil {
		return nvme.Target{}, err
	}
	if s := publish[publishSize]; s != "" {
		if t.Size, err = strconv.ParseInt(s, 10, 64); err != nil || t.Size <= 0 {
			return nvme.Target{}, contextError(publishSize, s, "a number of bytes")
		}
	}
	for _, o := range []struct {
		key             string
		value           *int
		least, fallback int
	}{
		{keyCtrlLossTmo, &t.CtrlLossTimeout, -1, -1},
		{keyReconnectDelay, &t.ReconnectDelay, 1, 5},
		{keyKeepAliveTmo, &t.KeepAlive, 0, 0},
	} {
		if *o.value, err = parseSeconds(volume, o.key, o.least, o.fallback); err != nil {
			return nvme.Target{}, err
		}
	}
	return t, nil
}

func checkNQN(id actors.VolumeID, nqn string) error {
	if len(nqn) > maxNQN || !nqnForm.MatchString(nqn) {
		return contextError(publishNQN, nqn, "an NVMe qualified name of at most 223 characters")
	}
	if _, ok := actors.NQNPrefix(nqn, id); !ok {
		return fmt.Errorf("publish context: %s %.223q does not name volume %s: %w", publishNQN, nqn, id, actors.ErrInvalid)
	}
	return nil
}

// parseHost compares the host that the volume was published for with this one.
func parseHost(host actors.Host, nqn, id string) (actors.Host, error) {
	if nqn == "" {
		if host.NQN == "" {
			return actors.Host{}, fmt.Errorf("publish context: %s is missing and this node has no host NQN of its own, detach and attach the volume again: %w", publishHostNQN, actors.ErrPrecondition)
		}
		return host, nil
	}
	if len(nqn) > maxNQN || !nqnForm.MatchString(nqn) {
		return actors.Host{}, contextError(publishHostNQN, nqn, "an NVMe qualified name of at most 223 characters")
	}
	if id == "" {
		id = strings.TrimPrefix(nqn, hostNQNPrefix)
	}
	if !hostIDForm.MatchString(id) {
		return actors.Host{}, contextError(publishHostID, id, "a lower-case UUID")
	}
	if published := (actors.Host{NQN: nqn, ID: id}); host.NQN == "" || host == published {
		return published, nil
	}
	return actors.Host{}, fmt.Errorf("publish context: the volume is published for host %s and this node is %s; the controller's and the node's cluster ID and node name must agree: %w", nqn, host.NQN, actors.ErrPrecondition)
}

// maxSeconds bounds the kernel's timers to what it can count in milliseconds.
const maxSeconds = 2_000_000

func parseSeconds(context map[string]string, key string, least, fallback int) (int, error) {
	s := context[key]
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > maxSeconds {
		return 0, fmt.Errorf("volume context: %s %.32q is not a number of seconds from %d to %d: %w", key, s, least, maxSeconds, actors.ErrInvalid)
	}
	return n, nil
}

func contextError(key, value, want string) error {
	if value == "" {
		return fmt.Errorf("publish context: %s is missing, it must be %s: %w", key, want, actors.ErrInvalid)
	}
	return fmt.Errorf("publish context: %s %.223q is not %s: %w", key, value, want, actors.ErrInvalid)
}
