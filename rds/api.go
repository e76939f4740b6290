// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rds-csi/rds-csi/rds/routeros"
)

// An apiSession is a session over the RouterOS API. It takes many commands at a time.
type apiSession struct {
	*routeros.Client
	patience time.Duration // how long a command may wait while nothing at all comes
}

var _ session = (*apiSession)(nil)

// dialAPI connects and logs in. It returns the interface, so that a failure is a nil one.
func dialAPI(ctx context.Context, cfg Config) (session, error) {
	password, err := cfg.password()
	if err != nil {
		return nil, err
	}
	conf, err := cfg.trust()
	if err != nil {
		return nil, err
	}
	client, err := routeros.Dial(ctx, routeros.Config{
		Address: cfg.Address, Username: cfg.Username, Password: password, TLS: conf,
		WriteTimeout: cfg.CommandTimeout, DialContext: cfg.DialContext,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what was tried
	}
	return &apiSession{client, cfg.CommandTimeout / 2}, nil
}

// Read implements session.
func (s *apiSession) Read(ctx context.Context, what reading) ([]routeros.Row, error) {
	words := []string{"/disk/print", "?type=file", "?mount-point", "?#|", "=.proplist=" + properties}
	if what == uptime {
		words = []string{"/system/resource/print", "=.proplist=uptime"}
	}
	r := s.run(ctx, words)[0]
	return r.Reply.Re, r.Err
}

// Change implements session.
func (s *apiSession) Change(ctx context.Context, changes ...change) []answer {
	var commands [][]string
	ends := make([]int, len(changes)) // of each change's commands
	for i, c := range changes {
		words, err := apiWords(c)
		if err != nil {
			return all(len(changes), err)
		}
		commands = append(commands, words...)
		ends[i] = len(commands)
	}
	results := s.run(ctx, commands...)
	answers := make([]answer, len(changes))
	begin := 0
	for i, end := range ends {
		last := results[end-1]
		answers[i] = answer{made: last.Reply.Done.Get("ret"), err: last.Err}
		if begin < end-1 {
			answers[i].first = results[begin].Err
		}
		begin = end
	}
	return answers
}

// run sends commands. A connection on which nothing came for as long as a command may take is given up:
// the next command deserves a new one.
func (s *apiSession) run(ctx context.Context, commands ...[]string) []routeros.Result {
	begin := time.Now()
	results := s.RunAll(ctx, commands...)
	for _, r := range results {
		if errors.Is(r.Err, context.DeadlineExceeded) && !s.Heard().After(begin) && time.Since(begin) >= s.patience {
			s.Close()
			break
		}
	}
	return results
}

// apiWords returns a change as sentences.
func apiWords(c change) ([][]string, error) {
	switch c := c.(type) {
	case addDisk:
		// mount-filesystem=no must be in it: the box would mount a guest's file system.
		return [][]string{{
			"/disk/add", "=type=file", "=slot=" + c.slot,
			"=file-path=" + c.file, "=file-size=" + strconv.FormatInt(c.size, 10),
			"=mount-filesystem=no", "=nvme-tcp-export=no", "=nvme-tcp-server-port=" + strconv.Itoa(int(c.port)),
			"=nvme-tcp-server-nqn=" + c.nqn, "=comment=" + c.comment,
		}}, nil
	case setRows:
		var sentences [][]string
		for _, r := range c.rows {
			sentences = append(sentences, []string{
				"/disk/set", "=.id=" + c.id, "=nvme-tcp-export=" + yesNo(r.export), "=nvme-tcp-server-nqn=" + r.nqn,
				"=nvme-tcp-server-allow-host-name=" + r.allowHost, "=comment=" + r.comment,
			})
		}
		return sentences, nil
	case setSize:
		return [][]string{{"/disk/set", "=.id=" + c.id, "=file-size=" + strconv.FormatInt(c.size, 10)}}, nil
	case endExport:
		return [][]string{{"/disk/set", "=.id=" + c.id, "=nvme-tcp-export=no"}}, nil
	case removeDisk:
		return [][]string{{"/disk/remove", "=.id=" + c.id}}, nil
	case removeFile:
		return [][]string{{"/file/remove", "=numbers=" + c.name}}, nil
	}
	return nil, fmt.Errorf("%w: a change of type %T is none that the API knows", routeros.ErrNotSent, c)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
