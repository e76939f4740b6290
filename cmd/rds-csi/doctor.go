// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/doctor"
)

// doctorFlags are those of rds-csi doctor.
type doctorFlags struct {
	boxFlags
	cluster  string
	also     string
	sessions bool
	write    bool
	yes      bool
	fill     bool
	only     string
	ports    string
	patience time.Duration
	json     bool
	compare  string
}

func (f *doctorFlags) register(fs *flag.FlagSet) {
	f.boxFlags.register(fs)
	fs.StringVar(&f.cluster, "cluster-id", "", "12 lower-case hex `digits` of the cluster whose volumes are ours; empty: those of any")
	fs.StringVar(&f.also, "also-address", "", "check the transport that --rds-transport does not name, too, at this `host[:port]`; its flags then stand beside the others")
	fs.BoolVar(&f.sessions, "count-sessions", false, "open sessions until the box refuses one, and close them: people may be kept out meanwhile")
	fs.BoolVar(&f.write, "write-test", false, "make scratch disks, export them, connect, write, and remove them, to settle the open questions about the box")
	fs.BoolVar(&f.yes, "yes", false, "do not ask before the write test")
	fs.BoolVar(&f.fill, "fill", false, "in the write test, ask for a file larger than the pool, too")
	fs.StringVar(&f.only, "only", "", "`questions` of the write test to ask, comma-separated; empty: all")
	fs.StringVar(&f.ports, "nvme-port", "4420-8515", "`range` of ports for the exports of the write test")
	fs.DurationVar(&f.patience, "patience", 3*time.Second, "how long the write test waits for what may happen before it says that it does not, 100ms to 1m")
	fs.BoolVar(&f.json, "json", false, "print the report as JSON, for --compare and for bug reports")
	fs.StringVar(&f.compare, "compare", "", "`file` with an earlier report in JSON: tell what has changed, as over a reboot")
}

func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return diagnose(ctx, args, os.Stdin, stdout, stderr)
}

// diagnose is runDoctor with a standard input.
func diagnose(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var f doctorFlags
	fs := flag.NewFlagSet("rds-csi doctor", flag.ContinueOnError)
	f.register(fs)
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	cfg, x, err := f.config()
	if err != nil {
		return err
	}
	before, err := readReport(f.compare)
	if err != nil {
		return err
	}
	cfg.Progress = func(what string) { fmt.Fprintf(stderr, "%s ...\n", what) } //nolint:errcheck // there is nobody left to tell
	if !f.yes {
		x.Confirm = func(plan string) bool { return confirm(stdin, stderr, plan) }
	}
	report, err := doctor.Examine(ctx, cfg)
	if err == nil && f.write {
		err = doctor.Experiment(ctx, cfg, x, report)
	}
	if report == nil {
		return asUsage(err)
	}
	if before != nil {
		report.Changes = doctor.Compare(before, report)
	}
	return errors.Join(asUsage(err), printReport(stdout, report, f.json))
}

// asUsage makes a mistake in the command line of what the doctor cannot use.
func asUsage(err error) error {
	if errors.Is(err, doctor.ErrConfig) {
		return usageError{err}
	}
	return err
}

// printReport writes the report. The error says that the box is not healthy.
func printReport(w io.Writer, r *doctor.Report, asJSON bool) error {
	var err error
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.WriteText(w)
	}
	switch {
	case err != nil:
		return fmt.Errorf("write the report: %w", err)
	case len(r.Left) > 0:
		return fmt.Errorf("something was left behind on the box: %d of disks, files and directories", len(r.Left))
	case !r.Healthy():
		return fmt.Errorf("the box is not healthy: %d of %d checks failed", r.Failed(), len(r.Checks))
	}
	return nil
}

// config checks the flags.
func (f *doctorFlags) config() (cfg doctor.Config, x doctor.ExperimentConfig, err error) {
	if f.commandTimeout < time.Second || f.commandTimeout > time.Minute {
		return cfg, x, usageError{fmt.Errorf("--command-timeout %v is not between 1s and 1m", f.commandTimeout)}
	}
	if f.patience < 100*time.Millisecond || f.patience > time.Minute {
		return cfg, x, usageError{fmt.Errorf("--patience %v is not between 100ms and 1m", f.patience)}
	}
	if f.cluster != "" {
		if err := actors.CheckCluster(f.cluster); err != nil {
			return cfg, x, usageError{fmt.Errorf("--cluster-id: %w", err)}
		}
	}
	if !f.write && (f.yes || f.fill || f.only != "") {
		return cfg, x, usageError{errors.New("--yes, --fill and --only are for --write-test")}
	}
	cfg = doctor.Config{NVMeAddress: f.nvmeAddress, Initiator: initiator{}, CountSessions: f.sessions, Version: version}
	host, err := f.boxes(&cfg)
	if err != nil {
		return cfg, x, err
	}
	if cfg.NVMeAddress == "" {
		cfg.NVMeAddress = host
	}
	x = doctor.ExperimentConfig{Fill: f.fill, Patience: f.patience}
	if f.only != "" {
		x.Only = strings.Split(f.only, ",")
	}
	x.FirstPort, x.LastPort, err = portRange(f.ports)
	return cfg, x, err
}

// boxes fills in how to speak to the box, over one transport or both. It returns the box's host.
func (f *doctorFlags) boxes(cfg *doctor.Config) (host string, err error) {
	main := f.boxFlags
	if f.also != "" {
		other := f.boxFlags
		other.rdsAddress, other.rdsTransport = f.also, "ssh"
		if f.rdsTransport == "ssh" {
			other.rdsTransport = "api"
		}
		main.keepOwn()
		other.keepOwn()
		box, _, err := other.box(f.cluster)
		if err != nil {
			return "", fmt.Errorf("--also-address: %w", err)
		}
		cfg.Also = &box
	}
	cfg.Box, host, err = main.box(f.cluster)
	return host, err
}

// keepOwn forgets the flags of the other transport.
func (f *boxFlags) keepOwn() {
	if f.rdsTransport == "ssh" {
		f.rdsPlain, f.rdsCAFile, f.rdsInsecure = false, "", false
		return
	}
	f.sshKeyFile, f.sshHostKey, f.sshKnownHosts = "", "", ""
}

// box returns the settings of the box, and its host.
func (f *boxFlags) box(cluster string) (rds.Config, string, error) {
	host, address, err := f.boxAddress()
	if err != nil {
		return rds.Config{}, "", err
	}
	if f.rdsUser == "" {
		return rds.Config{}, "", usageError{errors.New("--rds-user is missing: name the box's account")}
	}
	box := rds.Config{
		Address: address, Username: f.rdsUser, Cluster: cluster, VolumePaths: strings.Split(f.volumePath, ","),
		Sessions: f.rdsSessions, CommandTimeout: f.commandTimeout,
	}
	if box.Password, err = readSecret(f.rdsPassword); err != nil {
		return rds.Config{}, "", err
	}
	for _, p := range box.VolumePaths {
		if err := rds.CheckPath(p); err != nil {
			return rds.Config{}, "", usageError{fmt.Errorf("--volume-path: %w", err)}
		}
	}
	return box, host, f.sessions(&box, host)
}

// portRange reads a range of ports, such as 4420-8515.
func portRange(text string) (first, last uint16, err error) {
	a, b, _ := strings.Cut(text, "-")
	n, err1 := strconv.ParseUint(a, 10, 16)
	m, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || n < 1024 || m < n {
		return 0, 0, usageError{fmt.Errorf("--nvme-port %.32q is not a range such as 4420-8515", text)}
	}
	return uint16(n), uint16(m), nil
}

// readReport reads an earlier report; without a name there is none.
func readReport(file string) (*doctor.Report, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // none was asked for
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --compare: %w", err)
	}
	r := new(doctor.Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, usageError{fmt.Errorf("--compare %s is no report of doctor --json: %w", file, err)}
	}
	return r, nil
}

// confirm asks a person. Only a yes is one.
func confirm(in io.Reader, out io.Writer, plan string) bool {
	fmt.Fprint(out, plan+`Type "yes": `) //nolint:errcheck // nobody then answers
	// One byte at a time: what stands behind the line may answer the next question.
	line, err := bufio.NewReaderSize(oneByte{in}, 16).ReadString('\n')
	return (err == nil || errors.Is(err, io.EOF)) && strings.TrimSpace(line) == "yes"
}

// oneByte reads no further than it must.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }
