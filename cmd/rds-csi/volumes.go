// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
)

func (f *operatorFlags) registerVolumes(fs *flag.FlagSet) {
	fs.BoolVar(&f.json, "json", false, "print JSON, in which every time is in UTC and every size in bytes")
}

func runVolumes(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return atTerminal(stdout, stderr).volumes(ctx, args)
}

// errReadOnly keeps whatever would change the box from being sent.
var errReadOnly = errors.New("this command only reads")

// volumes compares what the box shows with what Kubernetes asks for, and changes nothing.
func (p *person) volumes(ctx context.Context, args []string) error {
	var f operatorFlags
	fs := flag.NewFlagSet("rds-csi volumes", flag.ContinueOnError)
	f.register(fs)
	f.registerVolumes(fs)
	rest, err := p.parse(&f, fs, args)
	if err != nil {
		return err
	}
	for _, id := range rest {
		if err := actors.VolumeID(id).Check(); err != nil {
			return usageError{err}
		}
	}
	survey, cluster, away := p.survey(ctx, &f)
	// Where nobody knows which cluster this is, every ledger is another one's.
	cfg, err := p.settings(&f, cmp.Or(cluster, nobody), func() error { return errReadOnly })
	if err != nil {
		return err
	}
	box, err := rds.New(cfg)
	if err != nil {
		return usageError{err}
	}
	defer box.Close()
	entries, missing, err := box.Inventory(ctx)
	if err != nil {
		return err
	}
	list := inspect(entries, survey, cluster)
	if len(rest) > 0 {
		list = slices.DeleteFunc(list, func(r report) bool { return !slices.Contains(rest, string(r.Volume)) })
	}
	if err := p.print(&f, list); err != nil {
		return err
	}
	return p.judge(&f, list, rest, survey, errors.Join(away, missing))
}

// nobody stands for this cluster where its identity is not known.
const nobody = "000000000000"

// survey asks the API server. Where it does not answer, the box alone is looked at.
func (p *person) survey(ctx context.Context, f *operatorFlags) (*k8s.Survey, string, error) {
	client, cluster, err := p.identify(ctx, f)
	if err != nil || client == nil {
		return nil, cmp.Or(cluster, f.cluster), err
	}
	survey, err := k8s.TakeSurvey(ctx, client, f.driverName)
	return survey, cluster, err
}

func (p *person) print(f *operatorFlags, list []report) error {
	if !f.json {
		return table(p.stdout, list, time.Now())
	}
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(list); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

// judge says in one line whether all is well. away is what could not be read.
func (p *person) judge(f *operatorFlags, list []report, asked []string, survey *k8s.Survey, away error) error {
	wrong := 0
	for _, r := range list {
		if !r.OK {
			wrong++
		}
	}
	for _, id := range asked {
		if !slices.ContainsFunc(list, func(r report) bool { return string(r.Volume) == id }) {
			return fmt.Errorf("the box has no volume %s, and no VolumeAttachment asks for it", id)
		}
	}
	if survey != nil && len(survey.Unmapped) > 0 {
		p.warn("VolumeAttachments of which nobody knows the volume, so that nothing is revoked by itself: %v", survey.Unmapped)
		wrong++
	}
	if survey == nil && away == nil {
		p.warn("Kubernetes was not asked (--kubernetes=false): ledgers are compared with their rows alone")
	}
	switch {
	case away != nil:
		return fmt.Errorf("this may not be all: %w", away)
	case wrong > 0:
		return fmt.Errorf("%d of %d volumes need a look", wrong, len(list))
	}
	if !f.json {
		p.say("%d volumes, all consistent", len(list))
	}
	return nil
}
