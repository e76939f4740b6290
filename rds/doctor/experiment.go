// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/rds-csi/rds-csi/rds"
)

// ErrDeclined says that the person who was asked did not want the experiment. Nothing was changed.
var ErrDeclined = errors.New("not confirmed, nothing was changed")

// Experiment settles the open questions about a box on scratch disks of its own, and adds what it found to
// the report of Examine. The error is ErrConfig, ErrDeclined, the end of ctx, or that of a session that could
// not be had; what the box did is in the report, Report.Left above all.
func Experiment(ctx context.Context, cfg Config, x ExperimentConfig, report *Report) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if x, err = x.complete(); err != nil {
		return err
	}
	if report.Failed() > 0 {
		report.check("write test", Skipped, "a check failed, so that nothing is changed on the box", "mend that first")
		return nil
	}
	b := &bench{Config: cfg, ExperimentConfig: x, report: report, run: uuid.New()}
	if b.session, err = dial(ctx, cfg.Box); err != nil {
		return fmt.Errorf("open a session for the write test: %w", err)
	}
	defer func() { b.session.Close() }()
	if report.Left, err = b.leftovers(ctx); err != nil {
		return err
	}
	if b.ports, err = b.freePorts(ctx); err != nil {
		return err
	}
	if !x.Confirm(b.plan()) {
		return ErrDeclined
	}
	if err := b.mayRemove(ctx); err != nil {
		return err
	}
	if report.Failed() > 0 {
		return nil
	}
	return b.askAll(ctx)
}

// plan says what is going to happen.
func (b *bench) plan() string {
	fill := ""
	if b.Fill {
		fill = "It asks for a file larger than the pool (--fill): if the box writes zeroes to set room aside, the pool fills up.\n"
	}
	return fmt.Sprintf("The write test makes scratch disks of %s on %s, at most three at a time, in %s, named %s%s-..., exports\n"+
		"them on ports %d, %d and %d of %s to hosts of its own, and removes each after its question. It touches nothing else.\n%sGo on?\n",
		bytesText(b.Size), b.Box.Address, b.VolumePath(), namePrefix, tagOf(b.run), b.ports[0], b.ports[1], b.ports[2], b.NVMeAddress, fill)
}

// freePorts chooses three ports that no row shows.
func (b *bench) freePorts(ctx context.Context) ([]uint16, error) {
	rows, err := b.session.Print(ctx, "/disk", rowProperties...)
	if err != nil {
		return nil, fmt.Errorf("look for free ports: %w", err)
	}
	taken := map[uint16]bool{4420: true} // of exports that name none
	for _, r := range rows {
		if n, err := strconv.ParseUint(r.Get("nvme-tcp-server-port"), 10, 16); err == nil {
			taken[uint16(n)] = true
		}
	}
	var free []uint16
	for n := int(b.FirstPort); n <= int(b.LastPort); n++ {
		if port := uint16(n); !taken[port] {
			free = append(free, port)
		}
	}
	if len(free) < 3 {
		return nil, fmt.Errorf("fewer than three of the ports %d-%d are free: %w", b.FirstPort, b.LastPort, ErrConfig)
	}
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	return free[:3], nil
}

// mayRemove asks for the removal of a file that there is not: what this account cannot remove, it should not
// make.
func (b *bench) mayRemove(ctx context.Context) error {
	b.question = "files-right"
	_, err := b.removeFile(ctx, b.VolumePath()+"/"+b.name()+".img")
	switch t := refusal(err); {
	case err == nil:
		return nil
	case t == nil:
		return fmt.Errorf("try the removal of a file: %w", err)
	default:
		b.refused("/file/remove of a file that there is not", t.Message)
	}
	do, seen := rds.Advice(err)
	b.report.check("write test", Fail, "files cannot be removed, so that nothing is made: "+seen.Error(), or(do, "give the group of the account the policies write and ftp"))
	if b.lacks("ftp") {
		b.settle("FilesNeedFTP", "true", "the account has write and not ftp, and may not remove a file")
	}
	return nil
}

// askAll asks the questions, and removes after each what it has made.
func (b *bench) askAll(ctx context.Context) error {
	unsettled := 0
	for _, q := range questions {
		if len(b.Only) > 0 && !slices.Contains(b.Only, q.name) {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the write test was ended: %w", context.Cause(ctx))
		}
		b.Progress(q.asks)
		b.question = q.name
		err := q.ask(ctx, b)
		left := b.sweep(ctx)
		unsettled += b.conclude(q, err)
		if len(left) > 0 {
			b.report.Left = append(b.report.Left, left...)
			return nil
		}
	}
	b.judge()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the write test was ended: %w", context.Cause(ctx))
	case unsettled > 0:
		b.report.check("write test", Warn, fmt.Sprintf("done; %d switches are not settled", unsettled), "see why, below")
	default:
		b.report.check("write test", OK, "done, and all is removed again", "")
	}
	return nil
}

// consequences are the answers with which the driver does not keep all of its promises.
var consequences = []struct {
	name, value string
	result      Result
	do          string
}{
	{"KeepOnExportOff", "true", Fail, "do not use this box for disks that matter: a node that was detached may go on writing. Report this, please"},
	{"KeepOnNQNChange", "true", Warn, "fencing holds at the last detach alone"},
	{"CutComment", "true", Warn, "keep node names short, so that no ledger is cut off: the driver notices, and refuses the attachment"},
	{"NewUUID", "true", Warn, "a node whose connection is lost does not get its disk back after the export was off: avoid fencing: host"},
	{"SharedFile", "true", Warn, "make no disk by hand over a file of the driver's: the box does not keep you from it"},
	{"Unordered", "true", Warn, "over the API avoid fencing: host, whose off and on are sent together"},
}

// judge checks what the answers mean for the driver.
func (b *bench) judge() {
	for _, a := range b.report.Answers {
		for _, c := range consequences {
			if a.Switch == c.name && a.Value == c.value {
				b.report.check(a.Question, c.result, a.Seen, c.do)
			}
		}
	}
}

// A moot question has no answer here, for a reason that is none of the box's faults.
type moot struct{ why string }

func (m *moot) Error() string { return m.why }

// conclude notes why switches of a question are not settled, and counts those that should have been.
func (b *bench) conclude(q question, err error) (unsettled int) {
	why := "the question was not answered"
	var m *moot
	excused := errors.As(err, &m)
	if err != nil {
		why = err.Error()
	}
	if len(q.switches) == 0 && err != nil {
		b.report.Answers = append(b.report.Answers, Answer{Question: q.name, Unsettled: why})
	}
	for _, name := range q.switches {
		if slices.ContainsFunc(b.report.Answers, func(a Answer) bool { return a.Switch == name }) {
			continue
		}
		b.report.Answers = append(b.report.Answers, Answer{Question: q.name, Switch: name, Unsettled: why})
		if !excused {
			unsettled++
		}
	}
	if q.vital && err != nil && !excused {
		do, seen := rds.Advice(err)
		b.report.check(q.asks, Fail, seen.Error(), or(do, "the driver needs this"))
	}
	return unsettled
}

// settle notes the answer to the question that is asked.
func (b *bench) settle(name, value, format string, args ...any) {
	b.report.Answers = append(b.report.Answers, Answer{Question: b.question, Switch: name, Value: value, Seen: fmt.Sprintf(format, args...)})
}

// settleBool is settle of a switch that is on or off.
func (b *bench) settleBool(name string, value bool, yes, no string) {
	seen := no
	if value {
		seen = yes
	}
	b.settle(name, strconv.FormatBool(value), "%s", seen)
}

// tell notes an answer that is no switch's.
func (b *bench) tell(format string, args ...any) { b.settle("", "", format, args...) }

// moot notes that a switch is without meaning on this box.
func (b *bench) moot(name, why string) {
	b.report.Answers = append(b.report.Answers, Answer{Question: b.question, Switch: name, Unsettled: why})
}
