// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/rds-csi/rds-csi/e2e/await"
	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// A Hold is a place at which something on a node's way waits, or goes wrong, until it is let go.
type Hold interface {
	// Reached waits until something has come there.
	Reached(ctx context.Context) error
	// Release lets go what waits, and ends the Hold.
	Release(ctx context.Context) error
}

// Spoil lets a fault happen to what nodes ask of the volume's disk.
func (v *Volume) Spoil(ctx context.Context, f control.Fault) (Hold, error) {
	f.Transport, f.Args = "nvme", map[string]string{"subsystem": "*:" + string(v.ID) + "*"}
	id, err := v.stage.Box.Spoil(ctx, f)
	return fault{v.stage, id}, err
}

type fault struct {
	stage *Stage
	id    int
}

func (f fault) Reached(ctx context.Context) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		hits, err := f.stage.Box.Met(ctx, f.id)
		if err == nil && hits == 0 {
			err = errors.New("no command has met the fault")
		}
		return err
	})
}

func (f fault) Release(ctx context.Context) error { return f.stage.Box.MendOne(ctx, f.id) }

// HoldProgram lets a program on a node wait whenever it is run: before it begins or, with after, when it is done.
func HoldProgram(ctx context.Context, n *guest.Node, name string, after bool) (Hold, error) {
	return program{n, name}, n.Call(ctx, api.Hold, api.Held{Program: name, After: after}, nil)
}

type program struct {
	node *guest.Node
	name string
}

func (p program) Reached(ctx context.Context) error {
	return await.Nil(ctx, func(ctx context.Context) error {
		var waiting api.Names
		err := p.node.Call(ctx, api.List, api.Path{Path: api.Waiting(p.name)}, &waiting)
		if err == nil && len(waiting.Names) == 0 {
			err = fmt.Errorf("nobody runs %s", p.name)
		}
		return err
	})
}

func (p program) Release(ctx context.Context) error {
	return p.node.Call(ctx, api.Release, api.Released{Program: p.name}, nil)
}

// Kill ends the Hold as Release does, and what waits with it.
func (p program) Kill(ctx context.Context) error {
	return p.node.Call(ctx, api.Release, api.Released{Program: p.name, Kill: true}, nil)
}
