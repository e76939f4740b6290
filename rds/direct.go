// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"cmp"
	"context"
	"errors"

	"github.com/rds-csi/rds-csi/rds/console"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// DialAPI opens a session of its own over the API, within Config.CommandTimeout: for who examines a box,
// beside the pool and the judgement of a Box. Of cfg it uses what a login takes; cfg.Transport is not
// looked at. Advice tells what to change where it fails.
func DialAPI(ctx context.Context, cfg Config) (*routeros.Client, error) {
	cfg.Transport, cfg.CommandTimeout = API, cmp.Or(cfg.CommandTimeout, DefaultCommandTimeout)
	ctx, cancel := context.WithTimeout(ctx, cfg.CommandTimeout)
	defer cancel()
	s, err := dialAPI(ctx, cfg)
	if err != nil {
		return nil, explainConnect(err, cfg)
	}
	return s.(*apiSession).Client, nil //nolint:forcetypeassert,errcheck // what dialAPI makes
}

// DialSSH is DialAPI over SSH.
func DialSSH(ctx context.Context, cfg Config) (*console.Client, error) {
	cfg.Transport, cfg.CommandTimeout = SSH, cmp.Or(cfg.CommandTimeout, DefaultCommandTimeout)
	s, err := dialSSH(ctx, cfg)
	if err != nil {
		return nil, explainConnect(err, cfg)
	}
	return s.(sshSession).Client, nil //nolint:forcetypeassert,errcheck // what dialSSH makes
}

// Advice splits an error into what to change on the box or in the flags, which is empty where that is not
// known, and what was seen.
func Advice(err error) (change string, seen error) {
	var h *hint
	if errors.As(explain(err), &h) {
		return h.change, h.err
	}
	return "", err
}

// CheckPath reports actors.ErrInvalid for what cannot be one of Config.VolumePaths.
func CheckPath(path string) error { return checkPath(path) }
