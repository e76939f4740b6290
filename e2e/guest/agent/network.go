// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The guest's side of QEMU's user network.
var (
	ownAddress = netip.MustParsePrefix("10.0.2.15/24")
	gateway    = netip.MustParseAddr("10.0.2.2")
	everything = netip.MustParsePrefix("0.0.0.0/0")
	loopback   = netip.MustParsePrefix("127.0.0.0/8")
	itself     = netip.MustParsePrefix("127.0.0.1/32")
)

// configureNetwork gives the guest its addresses and routes.
func configureNetwork() error {
	card, err := findCard()
	if err != nil {
		return err
	}
	// Of the loopback range, this guest is one address; the others are the machine's around it.
	for _, name := range []string{"all", card} {
		if err := setSysctl(filepath.Join("net/ipv4/conf", name, "route_localnet"), "1"); err != nil {
			return err
		}
	}
	if err := errors.Join(setAddress("lo", itself), setAddress(card, ownAddress)); err != nil {
		return err
	}
	return errors.Join(addRoute(card, everything), addRoute(card, loopback))
}

// cardTimeout is how long the driver may take to show the network card.
const cardTimeout = 10 * time.Second

// findCard returns the name of the network card.
func findCard() (string, error) {
	for began := time.Now(); time.Since(began) < cardTimeout; time.Sleep(10 * time.Millisecond) {
		cards, err := os.ReadDir("/sys/class/net")
		if err != nil {
			return "", err
		}
		for _, c := range cards {
			if _, err := os.Stat(filepath.Join("/sys/class/net", c.Name(), "device")); err == nil {
				return c.Name(), nil
			}
		}
	}
	return "", errors.New("there is no network card")
}

// setAddress gives an interface an address and turns it on (Linux, netdevice(7)).
func setAddress(name string, address netip.Prefix) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	// It is turned on first: the kernel then gives the loopback interface all of its range, which the mask takes back.
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("turn %s on: %w", name, err)
	}
	for _, step := range []struct {
		what    uint
		address []byte
	}{
		{unix.SIOCSIFADDR, address.Addr().AsSlice()},
		{unix.SIOCSIFNETMASK, net.CIDRMask(address.Bits(), 32)},
	} {
		if err := request.SetInet4Addr(step.address); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, step.what, request); err != nil {
			return fmt.Errorf("give %s the address %s: %w", name, address, err)
		}
	}
	return nil
}

// addRoute sends what is for a network to the gateway (Linux, rtnetlink(7)).
func addRoute(card string, to netip.Prefix) (err error) {
	link, err := net.InterfaceByName(card)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	body := []byte{
		unix.AF_INET, byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0,
	}
	if to.Bits() > 0 {
		body = appendAttribute(body, unix.RTA_DST, to.Addr().AsSlice())
	}
	body = appendAttribute(body, unix.RTA_GATEWAY, gateway.AsSlice())
	body = appendAttribute(body, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(link.Index))) //nolint:gosec // it counts from 1
	header := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))                //nolint:gosec // some bytes
	header = binary.NativeEndian.AppendUint16(header, unix.RTM_NEWROUTE)
	header = binary.NativeEndian.AppendUint16(header, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	header = append(header, make([]byte, 8)...) // sequence number, port
	if err := unix.Sendto(fd, append(header, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("add a route to %s: %w", to, err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err == nil && n < unix.SizeofNlMsghdr+4 {
		err = errors.New("the kernel's answer is too short")
	}
	if err == nil {
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 { //nolint:gosec // a negative errno
			err = unix.Errno(-code)
		}
	}
	if err != nil {
		return fmt.Errorf("add a route to %s: %w", to, err)
	}
	return nil
}

// appendAttribute appends an attribute of four bytes.
func appendAttribute(body []byte, kind uint16, value []byte) []byte {
	body = binary.NativeEndian.AppendUint16(body, uint16(4+len(value))) //nolint:gosec // eight
	return append(binary.NativeEndian.AppendUint16(body, kind), value...)
}
