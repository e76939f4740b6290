// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net"
	"strconv"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// forward hands on what comes in at a TCP port to a unix socket, until the guest ends.
func forward(ctx context.Context, f api.Forwarding) (nothing, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(ownAddress.Addr().String(), strconv.Itoa(f.Port)))
	if err != nil {
		return nothing{}, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handOn(conn, f.Socket)
		}
	}()
	return nothing{}, nil
}

// handOn copies both ways until both have ended. A socket on which nobody listens ends the connection.
func handOn(conn net.Conn, socket string) {
	defer conn.Close() //nolint:errcheck // it has ended
	to, err := new(net.Dialer).DialContext(context.Background(), "unix", socket)
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // it has ended
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, conn) // an end of the connection like any other
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
	_ = conn.Close()
	<-done
}
