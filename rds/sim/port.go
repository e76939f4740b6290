// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"net"
	"net/netip"

	"github.com/rds-csi/rds-csi/nvme/target"
)

// A port is an NVMe/TCP port of the box: open while an export uses it.
type port struct {
	target *target.Port
	users  int
	stop   context.CancelFunc // nil: closed
	served chan struct{}      // closed when no connection of the port is left
}

// open counts a user of a port and opens it for the first.
func (e *exports) open(number uint16) error {
	p := e.ports[number]
	if p == nil {
		tp, err := e.target.NewPort(number)
		if err != nil {
			return failure("%v", err)
		}
		p = &port{target: tp}
		e.ports[number] = p
	}
	if p.stop == nil {
		if err := e.listen(p, number); err != nil {
			return err
		}
	}
	p.users++
	return nil
}

// listen opens a port.
func (e *exports) listen(p *port, number uint16) error {
	ip, err := netip.ParseAddr(e.host)
	if err != nil {
		return failure("%v", err)
	}
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, number)))
	if err != nil {
		return failure("nvme-tcp-server-port %d cannot be opened on the machine that simulates the box: %v", number, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.served = cancel, make(chan struct{})
	go func() {
		defer close(p.served)
		if err := p.target.Serve(ctx, ln); err != nil {
			e.log.Error("port fails", "port", number, "error", err)
		}
	}()
	return nil
}

// release undoes open: the last user closes the port.
func (e *exports) release(number uint16) {
	p := e.ports[number]
	p.users--
	if p.users == 0 && !e.sw.PortStaysOpen {
		p.close()
	}
}

// close closes a port and waits for the end of its connections.
func (p *port) close() {
	if p.stop == nil {
		return
	}
	p.stop()
	<-p.served
	p.stop, p.served = nil, nil
}
