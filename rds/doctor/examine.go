// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rds-csi/rds-csi/rds"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// Examine looks at a box and changes nothing. The error is ErrConfig; what is wrong with the box is in the
// report.
func Examine(ctx context.Context, cfg Config) (*Report, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	e := &examination{cfg: cfg, report: &Report{
		Driver: cfg.Version, At: cfg.Now().UTC().Truncate(time.Second), Address: cfg.Box.Address, Transport: transportName(cfg.Box.Transport),
	}}
	for _, t := range []rds.Transport{rds.API, rds.SSH} {
		e.transport(ctx, t)
	}
	if e.reader == nil {
		e.report.check("the rest", Skipped, "there is no session with the box", "")
		return e.report, nil
	}
	defer e.close()
	for _, look := range []func(context.Context){e.version, e.storage, e.rights, e.services, e.disks, e.exports} {
		look(ctx)
	}
	if cfg.CountSessions {
		e.countSessions(ctx)
	}
	return e.report, nil
}

// An examination is one run of Examine.
type examination struct {
	cfg     Config
	report  *Report
	reader  Reader // of the driver's transport; nil: no login
	close   func()
	release release
	rows    []routeros.Row // of /disk
	max     int            // sessions that the service of the driver's transport takes; 0: not known
}

func transportName(t rds.Transport) string {
	if t == rds.SSH {
		return "SSH"
	}
	return "API"
}

// transport reaches the box over a transport, and logs in.
func (e *examination) transport(ctx context.Context, t rds.Transport) {
	name, cfg := transportName(t), e.cfg.settings(t)
	if cfg == nil {
		e.report.check(name, Skipped, "the flags configure the other transport alone", "")
		return
	}
	if t == rds.API && cfg.TLS != nil {
		name += " over TLS"
	}
	e.cfg.Progress("logging in over the " + name)
	ctx, cancel := bounded(ctx, *cfg)
	defer cancel()
	begin := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		e.report.check(name+" port", Fail, err.Error(), fmt.Sprintf("check --rds-address, the box's firewall, and /ip/service: is it on, at this port, and open to this machine? (%s)", cfg.Address))
		return
	}
	e.report.check(name+" port", OK, fmt.Sprintf("%s, reached in %v", cfg.Address, round(time.Since(begin))), "")
	_ = conn.Close() // it has told what there was to know
	begin = time.Now()
	s, err := dial(ctx, *cfg)
	if err != nil {
		do, seen := rds.Advice(err)
		e.report.check(name+" login", Fail, seen.Error(), or(do, "see the box's /log"))
		return
	}
	e.report.check(name+" login", OK, fmt.Sprintf("as %q, in %v", cfg.Username, round(time.Since(begin))), "")
	if t != e.cfg.Box.Transport {
		s.Close()
		return
	}
	e.reader, e.close = s, s.Close
}

// failed reports a read that failed.
func (e *examination) failed(name string, result Result, err error) {
	do, seen := rds.Advice(err)
	e.report.check(name, result, seen.Error(), do)
}

// version looks at RouterOS.
func (e *examination) version(ctx context.Context) {
	const name = "RouterOS"
	for _, p := range []struct {
		property string
		to       *string
	}{{"version", &e.report.RouterOS}, {"board-name", &e.report.Board}, {"uptime", &e.report.Uptime}} {
		value, err := e.reader.Get(ctx, "/system/resource", p.property)
		if err != nil {
			e.failed(name, Fail, err)
			return
		}
		*p.to = value
	}
	seen := fmt.Sprintf("%s on %s, up %s", e.report.RouterOS, e.report.Board, e.report.Uptime)
	var ok bool
	if e.release, ok = parseRelease(e.report.RouterOS); !ok {
		e.report.check(name, Warn, seen, "this driver does not know such a version")
		return
	}
	ssh := e.cfg.Box.Transport == rds.SSH
	switch {
	case e.release.before(13) && ssh:
		e.report.check(name, Fail, seen, "install RouterOS 7.20 or later: SSH needs :onerror, which is of 7.13, and prints that tell flags as values; or use the API")
	case e.release.before(13):
		e.report.check(name, Fail, seen, "install RouterOS 7.20 or later")
	case e.release.before(20):
		e.report.check(name, Warn, seen, "install RouterOS 7.20 or later: nobody has tried the driver with an earlier one")
	default:
		e.report.check(name, OK, seen, "")
	}
}

// A release is a version of RouterOS.
type release struct{ major, minor int }

// parseRelease reads a version as RouterOS writes it: "7.20.4 (stable)".
func parseRelease(text string) (r release, ok bool) {
	number, _, _ := strings.Cut(text, " ")
	n, err := fmt.Sscanf(number, "%d.%d", &r.major, &r.minor)
	return r, n == 2 && err == nil
}

// before reports whether it is older than RouterOS 7 with a minor version.
func (r release) before(minor int) bool { return r.major < 7 || r.major == 7 && r.minor < minor }

// countSessions opens sessions until the box refuses one.
func (e *examination) countSessions(ctx context.Context) {
	const name, most = "sessions, counted", 64
	e.cfg.Progress("counting the sessions that the box takes")
	var open []Session
	defer func() {
		for _, s := range open {
			s.Close()
		}
	}()
	for len(open) < most {
		s, err := dial(ctx, e.cfg.Box)
		if err != nil {
			e.report.check(name, OK, fmt.Sprintf("%d beside the first, then: %v", len(open), err), "")
			return
		}
		open = append(open, s)
	}
	e.report.check(name, OK, fmt.Sprintf("more than %d", most), "")
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
