// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"fmt"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	probeInterval = 50 * time.Millisecond
	probeTimeout  = 10 * time.Second
)

// Connect opens the one connection of a storm to a driver's socket and waits until the driver says
// that it is ready. The socket may come up meanwhile. The caller closes the connection.
func Connect(ctx context.Context, socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: probeInterval, Multiplier: 1, MaxDelay: probeInterval},
			MinConnectTimeout: probeTimeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	if err := awaitReady(ctx, csipb.NewIdentityClient(conn)); err != nil {
		return nil, fmt.Errorf("wait for the driver at %s: %w (close: %v)", socket, err, conn.Close()) //nolint:errorlint // the first error is the cause
	}
	return conn, nil
}

// awaitReady probes as the sidecars do, but more often.
func awaitReady(ctx context.Context, identity csipb.IdentityClient) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		ready, err := probe(ctx, identity)
		if err != nil {
			return err
		}
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, identity csipb.IdentityClient) (bool, error) {
	call, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	resp, err := identity.Probe(call, &csipb.ProbeRequest{}, grpc.WaitForReady(true))
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		return false, fmt.Errorf("probe: %w", err)
	}
	return resp.GetReady() == nil || resp.GetReady().GetValue(), nil
}
