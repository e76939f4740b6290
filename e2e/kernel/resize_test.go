// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/rds-csi/rds-csi/e2e/kernel"
	"github.com/rds-csi/rds-csi/rds/sim/control"
)

// resize makes volumes larger on a box that tells hosts nothing of it, while pods write to them.
func resize(t *testing.T, s story) {
	ctx := t.Context()
	volumes := []*kernel.Volume{s.volume(t, kernel.Spec{Size: 64 * mib}), s.volume(t, kernel.Spec{FS: "ext4", Size: 64 * mib})}
	for _, v := range volumes {
		must(t, v.Attach(ctx, s.a))
	}
	// A rescan shows the size.
	t.Run("rescanned", func(t *testing.T) {
		s.survives(t, volumes, "the box does not tell of a new size, and is asked", func(ctx context.Context) error {
			return s.quietly(ctx, volumes, false)
		})
	})
	// The box tells a host the size that it connected to: the connection is made anew.
	t.Run("reset", func(t *testing.T) {
		var faults []kernel.Hold
		for _, v := range volumes {
			fault, err := v.Spoil(t.Context(), control.Fault{Command: "identify", Stale: true})
			must(t, err)
			faults = append(faults, fault)
		}
		s.survives(t, volumes, "a new size shows in new connections alone, so they are reset", func(ctx context.Context) error {
			return s.quietly(ctx, volumes, true)
		})
		for _, fault := range faults {
			must(t, fault.Release(t.Context()))
		}
	})
	for _, v := range volumes {
		shown(t, s.a, v)
		must(t, v.Detach(ctx, s.a), v.Delete(ctx))
	}
	s.gone(t, s.a, volumes[0])
}

// quietly makes volumes larger without an event, and fails unless their connections are reset, or are not.
func (s story) quietly(ctx context.Context, volumes []*kernel.Volume, reset bool) error {
	was, err := kernel.Controllers(ctx, s.a, "cntlid") // another one after each reset
	if err != nil {
		return err
	}
	expanded := make(chan error, len(volumes))
	for _, v := range volumes {
		if err := s.Box.Resize(ctx, v.ID, 2*v.Spec.Size); err != nil {
			return err
		}
		v.Spec.Size *= 2
		go func() { expanded <- v.Expand(ctx, s.a, v.Spec.Size) }()
	}
	var errs []error
	for range volumes {
		errs = append(errs, <-expanded)
	}
	is, err := kernel.Controllers(ctx, s.a, "cntlid")
	if maps.Equal(was, is) == reset {
		err = errors.Join(err, fmt.Errorf("the controllers were %v and are %v", was, is))
	}
	return errors.Join(append(errs, err)...)
}
