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
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
)

func (f *operatorFlags) registerFence(fs *flag.FlagSet) {
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
}

func (f *operatorFlags) registerRelease(fs *flag.FlagSet) {
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
	fs.BoolVar(&f.force, "force", false, "revoke the grant although it is not seen to be left over: what fence does")
}

func runFence(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return atTerminal(stdout, stderr).fence(ctx, args)
}

func runRelease(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return atTerminal(stdout, stderr).release(ctx, args)
}

// fence revokes the grant of a node that may be writing.
func (p *person) fence(ctx context.Context, args []string) error {
	var f operatorFlags
	fs := flag.NewFlagSet("rds-csi fence", flag.ContinueOnError)
	f.register(fs)
	f.registerFence(fs)
	return p.revoke(ctx, &f, fs, args, func(s *session, id actors.VolumeID, node actors.NodeID, l actors.Ledger) (revocation, error) {
		return s.fencing(ctx, id, node, l), nil
	})
}

// release takes out a grant that is left over.
func (p *person) release(ctx context.Context, args []string) error {
	var f operatorFlags
	fs := flag.NewFlagSet("rds-csi release", flag.ContinueOnError)
	f.register(fs)
	f.registerRelease(fs)
	return p.revoke(ctx, &f, fs, args, func(s *session, id actors.VolumeID, node actors.NodeID, l actors.Ledger) (revocation, error) {
		return s.releasing(ctx, id, node, l)
	})
}

// A revocation is what a person is asked about.
type revocation struct {
	plan []string
	do   func(context.Context, *actors.Supervisor) (actors.Volume, error)
}

// revoke shows what a command would do, asks, and does it.
func (p *person) revoke(ctx context.Context, f *operatorFlags, fs *flag.FlagSet, args []string,
	prepare func(*session, actors.VolumeID, actors.NodeID, actors.Ledger) (revocation, error),
) error {
	rest, err := p.parse(f, fs, args)
	if err != nil {
		return err
	}
	id, node, err := volumeAndNode(rest, true)
	if err != nil {
		return err
	}
	s, err := p.open(ctx, f)
	if err != nil {
		return err
	}
	defer s.close()
	e, err := s.entry(ctx, id)
	if err != nil {
		return err
	}
	if err := s.holds(e.Volume, node); err != nil {
		return err
	}
	r, err := prepare(s, id, node, e.Volume.Ledger)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, r)
}

// carryOut asks, and does what was agreed to.
func (s *session) carryOut(ctx context.Context, r revocation) error {
	leader, err := s.leaderPlan(ctx)
	if err != nil {
		return err
	}
	for _, line := range append(r.plan, leader) {
		s.say("%s", line)
	}
	if err := s.agrees(s.flags); err != nil {
		return err
	}
	v, err := s.decide(ctx, r.do)
	if err != nil {
		return err
	}
	s.say("Done. Volume %s is %s", v.ID, standing(v))
	return nil
}

// standing says how a volume stands.
func standing(v actors.Volume) string {
	var nodes []string
	for _, g := range v.Ledger.Grants {
		nodes = append(nodes, string(g.Node))
	}
	export := "its export is off"
	if v.Export {
		export = "its export is on"
	}
	if len(nodes) == 0 {
		return "granted to no node; " + export + "."
	}
	return "granted to " + strings.Join(nodes, ", ") + "; " + export + "."
}

// holds refuses a node that is not granted, and a volume of somebody else.
func (s *session) holds(v actors.Volume, node actors.NodeID) error {
	switch {
	case !v.Ours:
		return fmt.Errorf("volume %s is the older driver's: its row carries no ledger, adopt it first", v.ID)
	case v.Ledger.Cluster != s.cluster:
		return fmt.Errorf("volume %s belongs to cluster %s, this is %s: do it there, or adopt it", v.ID, v.Ledger.Cluster, s.cluster)
	case !v.Ledger.Granted(node):
		return fmt.Errorf("nothing was done: node %s is not granted volume %s, which is %s", node, v.ID, standing(v))
	}
	return nil
}

// fencing says what becomes of a node that may be writing.
func (s *session) fencing(ctx context.Context, id actors.VolumeID, node actors.NodeID, l actors.Ledger) revocation {
	plan := []string{fmt.Sprintf("Fence node %s off volume %s (granted %s).", node, id, granted(l, node))}
	plan = append(plan, consequences(l, node)...)
	plan = append(plan, s.users(ctx, id, node)...)
	plan = append(plan, s.stillWanted(ctx, id, node)...)
	return revocation{plan, func(ctx context.Context, sup *actors.Supervisor) (actors.Volume, error) {
		// The lease took a while: what the person was shown may be over, and the node in use anew.
		v, err := sup.Get(ctx, id)
		if err != nil {
			return v, err
		}
		if at := granted(v.Ledger, node); v.Ledger.Granted(node) && at != granted(l, node) {
			return v, fmt.Errorf("nothing was done: node %s was granted volume %s anew at %s, look again: %w", node, id, at, actors.ErrPrecondition)
		}
		return sup.Fence(ctx, id, node, "a person fences it")
	}}
}

// releasing says why a grant is left over, or refuses.
func (s *session) releasing(ctx context.Context, id actors.VolumeID, node actors.NodeID, l actors.Ledger) (revocation, error) {
	why := errors.New("the API server is not asked (--kubernetes=false)")
	if s.known != nil {
		_, why = s.known.Stale(ctx, id, node)
	}
	if why != nil {
		if !s.flags.force {
			return revocation{}, fmt.Errorf("nothing was done, the grant is not seen to be left over (--force takes it all the same): %w", why)
		}
		r := s.fencing(ctx, id, node, l)
		r.plan = append([]string{
			fmt.Sprintf("The grant is not seen to be left over: %v.", why),
			"A VM that uses the volume there loses its disk, and what it has not written yet.",
		}, r.plan...)
		return r, nil
	}
	plan := []string{
		fmt.Sprintf("Release volume %s from node %s (granted %s).", id, node, granted(l, node)),
		"No VolumeAttachment asks for it there, and the node is gone or does not list it in use.",
	}
	return revocation{append(plan, consequences(l, node)...), func(ctx context.Context, sup *actors.Supervisor) (actors.Volume, error) {
		return sup.Release(ctx, id, node)
	}}, nil
}

func granted(l actors.Ledger, node actors.NodeID) string {
	for _, g := range l.Grants {
		if g.Node == node {
			return g.At.Time().UTC().Format(time.RFC3339Nano)
		}
	}
	return "never"
}

// consequences says how far a revoke goes.
func consequences(l actors.Ledger, node actors.NodeID) []string {
	var others []string
	for _, g := range l.Grants {
		if g.Node != node {
			others = append(others, string(g.Node))
		}
	}
	stay := strings.Join(others, ", ")
	switch {
	case l.Fencing == actors.FencingNone:
		return []string{fmt.Sprintf("Fencing is none: the export stays on, and %s is NOT cut off. Only the ledger changes. Turn the node off.", node)}
	case len(others) == 0:
		return []string{"The export goes off: I/O of whoever is connected fails at once."}
	case l.Fencing == actors.FencingHost && len(others) == 1:
		return []string{fmt.Sprintf("The export goes off and on where %s may be using it: both nodes lose it, %s reconnects within seconds, %s is refused.", node, stay, node)}
	}
	return []string{fmt.Sprintf("Fencing is %v, and %s keeps the volume: %s is NOT cut off until that is detached too. Turn the node off.", l.Fencing, stay, node)}
}

// users says whose I/O will end.
func (s *session) users(ctx context.Context, id actors.VolumeID, node actors.NodeID) []string {
	if s.client == nil {
		return []string{"Which VM uses it there cannot be told: Kubernetes is not asked."}
	}
	claim, err := s.claims.Find(ctx, id)
	if err != nil {
		return []string{fmt.Sprintf("Which VM uses it there cannot be told: %v.", err)}
	}
	users, err := k8s.Users(ctx, s.client, claim.Namespace, claim.Name, node)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("Claim %s/%s; which VM uses it there cannot be told: %v.", claim.Namespace, claim.Name, err)}
	case len(users) == 0:
		return []string{fmt.Sprintf("Claim %s/%s; no pod there uses it.", claim.Namespace, claim.Name)}
	}
	return []string{fmt.Sprintf("Claim %s/%s; I/O ends for %s.", claim.Namespace, claim.Name, strings.Join(users, ", "))}
}

// stillWanted warns of a VolumeAttachment that would have the node granted again.
func (s *session) stillWanted(ctx context.Context, id actors.VolumeID, node actors.NodeID) []string {
	if s.client == nil {
		return nil
	}
	survey, err := k8s.TakeSurvey(ctx, s.client, s.flags.driverName)
	if err != nil {
		return []string{fmt.Sprintf("Whether it is still wanted there cannot be told: %v.", err)}
	}
	for _, a := range survey.Attachments[id] {
		if a.Node == node && a.State != k8s.BeingDeleted {
			return []string{
				fmt.Sprintf("VolumeAttachment %s still asks for it on %s (%s): the driver grants it AGAIN unless you first say", a.Name, node, a.State),
				fmt.Sprintf("  kubectl taint node %s node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", node),
				"or delete the pod there, so that the VolumeAttachment goes.",
			}
		}
	}
	return nil
}
