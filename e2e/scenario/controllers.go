// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rds-csi/rds-csi/e2e/driver"
	"github.com/rds-csi/rds-csi/rds/sim"
)

// driverSays waits for a text in the driver's log.
func driverSays(ctx context.Context, w *world, args []string) error {
	return says(ctx, w.driver, strings.Join(args, " "))
}

func says(ctx context.Context, d *driver.Driver, text string) error {
	return eventually(ctx, func(context.Context) error {
		said, err := d.Said(text)
		if err == nil && !said {
			return fmt.Errorf("the driver's log does not say %q", text)
		}
		return err
	})
}

// sidecar lets a sidecar of the driver crash.
func sidecar(_ context.Context, w *world, args []string) error {
	if len(args) != 2 || args[1] != "kill" {
		return errors.New("a sidecar can be killed")
	}
	return w.driver.Crash(args[0])
}

// standby is about the second controller.
func standby(ctx context.Context, w *world, args []string) (err error) {
	if len(args) == 0 || args[0] != "start" && w.standby == nil {
		return errors.New("a standby is started first")
	}
	switch args[0] {
	case "start":
		if w.standby, err = w.controller(ctx, "standby", sim.LoopbackHost()); err != nil {
			return err
		}
		if err := w.standby.Run(); err != nil {
			return err
		}
		return says(ctx, w.standby, "a controller leads")
	case "leads":
		if err := eventually(ctx, func(ctx context.Context) error {
			series, err := w.standby.Metrics(ctx)
			if err == nil && series["rds_csi_leader"] != 1 {
				err = errors.New("the standby does not lead")
			}
			return err
		}); err != nil {
			return err
		}
		w.driver, w.standby = w.standby, w.driver
		return nil
	case "freeze", "thaw":
		return w.standby.Freeze(args[0] == "freeze")
	case "says":
		return says(ctx, w.standby, strings.Join(args[1:], " "))
	}
	return fmt.Errorf("a standby does not %s", args[0])
}
