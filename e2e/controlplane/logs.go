// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// KeepLogs copies the logs in a directory, and in those within it, to another.
func KeepLogs(from, to string) error {
	logs, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return fmt.Errorf("look for logs: %w", err)
	}
	deeper, err := filepath.Glob(filepath.Join(from, "*", "*.log"))
	if err != nil {
		return fmt.Errorf("look for logs: %w", err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("keep logs: %w", err)
	}
	for _, log := range append(logs, deeper...) {
		content, err := os.ReadFile(log)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(log)), content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
	}
	return nil
}
