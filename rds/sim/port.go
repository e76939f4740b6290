// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"net"
	"strconv"

	"github.com/rds-csi/rds-csi/nvme/target"
)

// A port is an NVMe/TCP port of the box: open while an export uses it.
type port struct {
	target *target.Port
	users  int
	ln     net.Listener       // nil: closed
	stop   context.CancelFunc // nil: nothing is accepted
	served chan struct{}      // closed when no connection of the port is left
}

// open counts a user of a port and opens it for the first. Hosts that come wait until accept.
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
	if p.ln == nil {
		ln, err := e.listen(context.Background(), "tcp", net.JoinHostPort(e.host, strconv.Itoa(int(number))))
		if err != nil {
			return failure("nvme-tcp-server-port %d cannot be opened on the machine that simulates the box: %v", number, err)
		}
		p.ln = ln
	}
	p.users++
	return nil
}

// accept lets the hosts of an open port in. It is called when there is a name for them to find: one
// that is told of an unknown name may give up for good.
func (e *exports) accept(number uint16) {
	p := e.ports[number]
	if p.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.served = cancel, make(chan struct{})
	go func(ln net.Listener, served chan struct{}) {
		defer close(served)
		if err := p.target.Serve(ctx, ln); err != nil {
			e.log.Error("port fails", "port", number, "error", err)
		}
	}(p.ln, p.served)
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
	if p.ln != nil {
		_ = p.ln.Close()
	}
	if p.stop != nil {
		p.stop()
		<-p.served
	}
	p.ln, p.stop, p.served = nil, nil, nil
}
