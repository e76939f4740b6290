// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package nvme

import (
	"errors"
	"io/fs"
	"os"
)

// HostKernel returns a Kernel that can do nothing: volumes are connected on Linux only.
func HostKernel() Kernel { return none{} }

type none struct{}

func (none) Stat(path string, _ bool) (fs.FileMode, DevNum, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, DevNum{}, err
	}
	return info.Mode(), DevNum{}, nil
}

func (none) ReadDirect(string, []byte, int64) error     { return errors.ErrUnsupported }
func (none) Claim(string) error                         { return errors.ErrUnsupported }
func (none) SetReadOnly(string, bool) error             { return errors.ErrUnsupported }
func (none) MakeNode(string, DevNum, fs.FileMode) error { return errors.ErrUnsupported }
func statfs(string) (Usage, error)                      { return Usage{}, errors.ErrUnsupported }

func readMounts(string) ([]mountPoint, error) { return nil, errors.ErrUnsupported }
