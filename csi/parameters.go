// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
)

// reservedPrefix is that of the parameters that Kubernetes adds itself. The provisioner refuses
// those that it does not know, so none of them is a user's mistake.
const reservedPrefix = "csi.storage.k8s.io/"

// keyReservedFSType is how newer StorageClasses spell fsType.
const keyReservedFSType = reservedPrefix + "fstype"

// Bounds of StorageClass parameters.
const (
	maxAddress    = 253 // RFC 1035
	maxVolumePath = 128

	minHostReconnect = 2 // fencing host: a bounce must end before the survivor's first attempt
)

// parameters are those of a StorageClass, checked, with the defaults filled in.
type parameters struct {
	nvmeAddress    string
	ports          actors.Ports
	fsType         string // empty: none named
	volumePath     string
	nqnPrefix      string
	ctrlLossTmo    int // seconds, -1 for ever
	reconnectDelay int // seconds
	keepAliveTmo   int // seconds, 0 for the kernel's default
	timeout        int // seconds that a migration may take
	fencing        actors.Fencing
	rwxPolicy      actors.Policy
}

// A parameter is how one key of a StorageClass is read. An empty value means the default.
type parameter struct {
	key   string
	parse func(c *Controller, p *parameters, value string) error
}

// known lists the parameters in the order in which the documentation has them.
var known = []parameter{
	{keyRDSAddress, func(c *Controller, _ *parameters, v string) error { return c.checkBoxAddress(v) }},
	{keyNVMeAddress, func(_ *Controller, p *parameters, v string) error { p.nvmeAddress = v; return checkAddress(v) }},
	{keyNVMePort, func(_ *Controller, p *parameters, v string) (err error) { p.ports, err = parsePorts(v); return err }},
	{keySSHPort, func(_ *Controller, _ *parameters, v string) error { return parseInt(new(int), v, 1, 65535) }},
	{keyFSType, func(_ *Controller, p *parameters, v string) error { return p.setFSType(v) }},
	{keyVolumePath, func(_ *Controller, p *parameters, v string) (err error) {
		p.volumePath, err = cleanVolumePath(v)
		return err
	}},
	{keyNQNPrefix, func(_ *Controller, p *parameters, v string) error { p.nqnPrefix = v; return checkNQNPrefix(v) }},
	{keyCtrlLossTmo, func(_ *Controller, p *parameters, v string) error { return parseInt(&p.ctrlLossTmo, v, -1, 86400) }},
	{keyReconnectDelay, func(_ *Controller, p *parameters, v string) error { return parseInt(&p.reconnectDelay, v, 1, 60) }},
	{keyKeepAliveTmo, func(_ *Controller, p *parameters, v string) error { return parseInt(&p.keepAliveTmo, v, 0, 300) }},
	{keyTimeout, func(_ *Controller, p *parameters, v string) error {
		return parseInt(&p.timeout, v, actors.MinTimeout, actors.MaxTimeout)
	}},
	{keyFencing, func(_ *Controller, p *parameters, v string) (err error) {
		p.fencing, err = actors.ParseFencing(v)
		return err
	}},
	{keyRWXPolicy, func(_ *Controller, p *parameters, v string) (err error) {
		p.rwxPolicy, err = actors.ParsePolicy(v)
		return err
	}},
	{keyReservedFSType, func(_ *Controller, p *parameters, v string) error { return p.setFSType(v) }},
}

// parseParameters checks the parameters of a StorageClass. Its errors are ErrInvalid and name the
// parameter and what it may be.
func (c *Controller) parseParameters(values map[string]string) (parameters, error) {
	p := parameters{
		nvmeAddress:    c.cfg.NVMeAddress,
		ports:          defaultPorts,
		volumePath:     c.cfg.VolumePath,
		nqnPrefix:      actors.DefaultNQNPrefix,
		ctrlLossTmo:    -1,
		reconnectDelay: 5,
		timeout:        actors.DefaultTimeout,
		fencing:        actors.FencingEpoch,
		rwxPolicy:      actors.PolicyAuto,
	}
	if err := checkKnown(values); err != nil {
		return p, err
	}
	for _, k := range known {
		v := values[k.key]
		if v == "" {
			continue
		}
		if err := k.parse(c, &p, v); err != nil {
			return p, fmt.Errorf("parameter %s: %w", k.key, err)
		}
	}
	if p.volumePath == "" {
		return p, fmt.Errorf("parameter %s is missing: name a directory on the box: %w", keyVolumePath, actors.ErrInvalid)
	}
	if p.fencing == actors.FencingHost && p.reconnectDelay < minHostReconnect {
		return p, fmt.Errorf("parameter %s: %d is too short for fencing host: use %d or more: %w", keyReconnectDelay, p.reconnectDelay, minHostReconnect, actors.ErrInvalid)
	}
	return p, nil
}

// checkKnown refuses the first key, in the order of the alphabet, that no parameter has.
func checkKnown(values map[string]string) error {
	names := make([]string, 0, len(known))
	for _, k := range known {
		names = append(names, k.key)
	}
	unknown := ""
	for key := range values {
		if !slices.Contains(names, key) && !strings.HasPrefix(key, reservedPrefix) && (unknown == "" || key < unknown) {
			unknown = key
		}
	}
	if unknown == "" {
		return nil
	}
	return fmt.Errorf("parameter %.64q is unknown: those of this driver are %s: %w", unknown, strings.Join(names, ", "), actors.ErrInvalid)
}

// setFSType takes the filesystem's type from either of its two spellings.
func (p *parameters) setFSType(s string) error {
	if err := checkFSType(s); err != nil {
		return err
	}
	if p.fsType != "" && p.fsType != s {
		return fmt.Errorf("%s contradicts %s=%s: %w", s, keyFSType, p.fsType, actors.ErrInvalid)
	}
	p.fsType = s
	return nil
}

// checkBoxAddress refuses the address of a box that this controller does not serve.
func (c *Controller) checkBoxAddress(s string) error {
	if err := checkAddress(s); err != nil {
		return err
	}
	if c.servesAddress(s) {
		return nil
	}
	return fmt.Errorf("this controller serves the box %s, not %s: use that address or leave the parameter out: %w", c.cfg.BoxAddress, s, actors.ErrInvalid)
}

// servesAddress reports whether s is an address of this controller's box, now or formerly.
func (c *Controller) servesAddress(s string) bool {
	return sameAddress(s, c.cfg.BoxAddress) || slices.ContainsFunc(c.cfg.BoxAliases, func(a string) bool { return sameAddress(s, a) })
}

// sameAddress compares host names without case and IP addresses in any of their spellings.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return strings.EqualFold(a, b)
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$`)

// numericEnd is how no host name ends: what does is a mistyped IPv4 address (RFC 1123, 2.1).
var numericEnd = regexp.MustCompile(`(^|\.)[0-9]+$`)

// checkAddress accepts an IP address without a zone, or a host name.
func checkAddress(s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return nil
	}
	if len(s) <= maxAddress && hostForm.MatchString(s) && !numericEnd.MatchString(s) {
		return nil
	}
	return fmt.Errorf("%.64q is not an IP address or a host name without a port: %w", s, actors.ErrInvalid)
}

// defaultPorts is the range from which a new volume gets its NVMe/TCP port.
var defaultPorts = actors.Ports{First: 4420, Last: 8515}

// parsePorts reads a port or a range "first-last", from 1024 to 65535.
func parsePorts(s string) (actors.Ports, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	var lo, hi int
	if parseInt(&lo, first, 1024, 65535) != nil || parseInt(&hi, last, 1024, 65535) != nil || lo > hi {
		return actors.Ports{}, fmt.Errorf("%.32q is not a port or a range like 4420-8515, from 1024 to 65535: %w", s, actors.ErrInvalid)
	}
	return actors.Ports{First: uint16(lo), Last: uint16(hi)}, nil
}

// parseInt reads a decimal number without a plus sign from low to high.
func parseInt(n *int, s string, low, high int) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < low || v > high || strconv.Itoa(v) != s {
		return fmt.Errorf("%.32q is not a whole number from %d to %d: %w", s, low, high, actors.ErrInvalid)
	}
	*n = v
	return nil
}

// plain is the alphabet that no RouterOS console interprets.
var plain = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

// cleanVolumePath returns a directory on the box with a leading slash and no trailing one.
func cleanVolumePath(s string) (string, error) {
	clean := strings.TrimRight(s, "/")
	switch {
	case !strings.HasPrefix(s, "/") || clean == "":
		return "", fmt.Errorf("%.64q is not an absolute directory like /raid10/volumes: %w", s, actors.ErrInvalid)
	case len(clean) > maxVolumePath:
		return "", fmt.Errorf("%d bytes are longer than %d: %w", len(clean), maxVolumePath, actors.ErrInvalid)
	case !plain.MatchString(clean):
		return "", fmt.Errorf("%.64q has characters other than letters, digits and . _ : / -: %w", s, actors.ErrInvalid)
	case path.Clean(clean) != clean:
		return "", fmt.Errorf("%.64q has an empty, . or .. element: %w", s, actors.ErrInvalid)
	}
	return clean, nil
}

var nqnPrefixForm = regexp.MustCompile(`^nqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[A-Za-z0-9._:/-]*[A-Za-z0-9]$`)

func checkNQNPrefix(s string) error {
	if len(s) > actors.MaxNQNPrefix || !nqnPrefixForm.MatchString(s) {
		return fmt.Errorf("%.64q is not of the form nqn.<yyyy-mm>.<reversed domain>, in letters, digits and . _ : / -, of at most %d bytes: %w", s, actors.MaxNQNPrefix, actors.ErrInvalid)
	}
	return nil
}
