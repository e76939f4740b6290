// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Where free ports are looked for: above those of well-known services, below those that systems take
// for outgoing connections.
const (
	firstPort = 20000
	lastPort  = 32767
)

// FreePorts returns the first of n consecutive TCP ports of 127.0.0.1 on which nobody listens. Someone
// else may take one before the caller does.
func FreePorts(ctx context.Context, n int) (int, error) {
	first, free := firstPort, 0
	for port := firstPort; port <= lastPort && free < n; port++ {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err := tryPort(ctx, port); err != nil {
			first, free = port+1, 0
			continue
		}
		free++
	}
	if free < n {
		return 0, fmt.Errorf("there are no %d consecutive free ports from %d to %d on 127.0.0.1", n, firstPort, lastPort)
	}
	return first, nil
}

func tryPort(ctx context.Context, port int) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return errors.Join(err, closeListener(l))
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// FreeAddress returns host:port of a TCP port of 127.0.0.1 on which nobody listens.
func FreeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
