// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds"
)

func (f *operatorFlags) registerAdopt(fs *flag.FlagSet) {
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
	fs.BoolVar(&f.force, "force", false, "take the volume over although the other cluster's ledger grants it to nodes")
}

func runAdopt(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return atTerminal(stdout, stderr).adopt(ctx, args)
}

// adopt takes over a volume of another cluster or of the older driver.
func (p *person) adopt(ctx context.Context, args []string) error {
	var f operatorFlags
	fs := flag.NewFlagSet("rds-csi adopt", flag.ContinueOnError)
	f.register(fs)
	f.registerAdopt(fs)
	rest, err := p.parse(&f, fs, args)
	if err != nil {
		return err
	}
	id, _, err := volumeAndNode(rest, false)
	if err != nil {
		return err
	}
	if !f.kubernetes {
		return usageError{errors.New("adopt needs Kubernetes: a volume is this cluster's only where a PersistentVolume of it has it")}
	}
	s, err := p.open(ctx, &f)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.entry(ctx, id)
	if err != nil {
		return err
	}
	from, gen := e.Volume.Ledger.Cluster, e.Volume.Ledger.Gen
	if from == s.cluster {
		p.say("Volume %s is this cluster's already, %s", id, standing(e.Volume))
		return nil
	}
	plan, err := s.adoption(ctx, e)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, revocation{plan, func(ctx context.Context, sup *actors.Supervisor) (actors.Volume, error) {
		return sup.TakeOver(ctx, id, from, gen, f.force)
	}})
}

// adoption says what becomes of a volume that is taken over, or refuses.
func (s *session) adoption(ctx context.Context, e rds.Entry) ([]string, error) {
	v, l := e.Volume, e.Volume.Ledger
	facts, err := s.known.Adopt(ctx, v.ID)
	if err != nil {
		return nil, fmt.Errorf("nothing was done: %w", err)
	}
	claim := "its PersistentVolume has no claim"
	if c, err := s.claims.Find(ctx, v.ID); err == nil {
		claim = fmt.Sprintf("claim %s/%s", c.Namespace, c.Name)
	}
	var stays []string
	for _, g := range facts.Grants {
		if !v.Ours || l.Granted(g.Node) {
			stays = append(stays, string(g.Node))
		}
	}
	plan := []string{fmt.Sprintf("Adopt volume %s (%s on the box, %s) for cluster %s: %s.", v.ID, e.File, size(v.Size), s.cluster, claim)}
	if v.Ours {
		plan = append(plan, fmt.Sprintf("It is cluster %s's, by its ledger, write %d.", l.Cluster, l.Gen),
			"That cluster MUST NOT use it any more: nothing but you can see to that. Delete its PersistentVolume there, and retain the volume.")
		if len(l.Grants) > 0 {
			if !s.flags.force {
				return nil, fmt.Errorf("nothing was done: cluster %s has volume %s attached: it is %s Detach it there, or say --force if that cluster is gone", l.Cluster, v.ID, standing(v))
			}
			plan = append(plan, fmt.Sprintf("There it is %s A VM that runs there loses its disk, and what it has not written yet.", standing(v)))
		}
	} else {
		plan = append(plan, "Its row carries no ledger: it is the older driver's, which must not run any more.")
	}
	switch {
	case len(stays) > 0:
		plan = append(plan, fmt.Sprintf("It stays attached where VolumeAttachments say so, under the same NQN: %s.", strings.Join(stays, ", ")))
	case v.Export:
		plan = append(plan, "Nobody has it attached here: its export goes off, so that I/O of whoever is connected fails at once.")
	default:
		plan = append(plan, "Nobody has it attached here, and its export is off.")
	}
	return plan, nil
}
