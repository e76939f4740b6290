// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"fmt"
	"time"
)

// A Migration is what QEMU measured of one.
type Migration struct {
	Downtime time.Duration // in which the guest ran nowhere
	Took     time.Duration // in all
	Sent     int64         // of the guest's memory, in bytes
}

// migrateInfo is QEMU's answer to query-migrate.
type migrateInfo struct {
	Status    string `json:"status"`
	Error     string `json:"error-desc"`
	Downtime  int64  `json:"downtime"`   // ms
	TotalTime int64  `json:"total-time"` // ms
	RAM       struct {
		Transferred int64 `json:"transferred"`
	} `json:"ram"`
}

// migratePoll is the time between two looks at a migration.
const migratePoll = 20 * time.Millisecond

// Migrate moves the machine's guest to where another QEMU waits for it, and returns when this machine has stopped for
// good, with all of its I/O done. One that fails lets the guest go on here.
func (c *Client) Migrate(ctx context.Context, uri string) (Migration, error) {
	if err := c.Execute(ctx, "migrate", map[string]any{"uri": uri}, nil); err != nil {
		return Migration{}, err
	}
	tick := time.NewTicker(migratePoll)
	defer tick.Stop()
	for {
		info, done, err := c.migrated(ctx)
		if done || err != nil {
			return Migration{
				Downtime: time.Duration(info.Downtime) * time.Millisecond, Took: time.Duration(info.TotalTime) * time.Millisecond,
				Sent: info.RAM.Transferred,
			}, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Migration{}, fmt.Errorf("the migration is %s: %w", info.Status, context.Cause(ctx))
		}
	}
}

// migrated looks at a migration. It is told as completed a moment before its times are known, which is when the
// machine turns to postmigrate.
func (c *Client) migrated(ctx context.Context) (info migrateInfo, done bool, err error) {
	var machine struct {
		Status string `json:"status"`
	}
	if err := c.Execute(ctx, "query-status", nil, &machine); err != nil {
		return info, false, err
	}
	if err := c.Execute(ctx, "query-migrate", nil, &info); err != nil {
		return info, false, err
	}
	switch info.Status {
	case "failed", "cancelled":
		return info, false, fmt.Errorf("the migration has %s: %s", info.Status, info.Error)
	case "completed":
		return info, machine.Status == "postmigrate", nil
	}
	return info, false, nil
}
