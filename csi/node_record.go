// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rds-csi/rds-csi/actors"
)

// A record is what the node remembers of a staged volume over a restart. It is written before the
// change that it tells, so it may tell too much, and is always compared with what is there.
type record struct {
	Version int             `json:"version"`
	Volume  actors.VolumeID `json:"volume"`
	NQN     string          `json:"nqn"`
	Size    int64           `json:"size,omitempty"` // bytes; 0: was not told
	Staging string          `json:"staging"`        // staging target path
	Staged  bool            `json:"staged"`         // false: staging was begun
	Access  access          `json:"access"`
	// Published is in the order of publishing.
	Published []publication `json:"published,omitempty"`
}

// A publication is one target path of a volume.
type publication struct {
	Target   string `json:"target"`
	Access   access `json:"access"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

const recordVersion = 1

// publication returns the index of a target's publication, or -1.
func (r *record) publication(target string) int {
	return slices.IndexFunc(r.Published, func(p publication) bool { return p.Target == target })
}

// records keeps one file per volume in a directory. Only the holder of a volume's flight writes its
// file, so there is no lock.
type records struct{ dir string }

func openRecords(dir string) (*records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	return &records{dir: dir}, nil
}

func (rs *records) path(id actors.VolumeID) string {
	return filepath.Join(rs.dir, string(id)+".json")
}

// load returns a volume's record, or nil if there is none. A damaged record, or one of a later
// version, is ErrPrecondition: what it would have told cannot be guessed.
func (rs *records) load(id actors.VolumeID) (*record, error) {
	data, err := os.ReadFile(rs.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of %s: %w", id, err)
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("record %s is damaged, delete it once no pod on this node uses the volume: %w: %w", rs.path(id), err, actors.ErrPrecondition)
	}
	if _, ok := actors.NQNPrefix(r.NQN, id); r.Version != recordVersion || r.Volume != id || !ok {
		return nil, fmt.Errorf("record %s is of version %d for volume %.64q and NQN %.256q, which this driver did not write; delete it once no pod on this node uses the volume: %w",
			rs.path(id), r.Version, string(r.Volume), r.NQN, actors.ErrPrecondition)
	}
	return r, nil
}

// save replaces a volume's record. A loss of power may bring back the one before, or none, but
// never half of one; it also takes the connections and mounts that the record told of.
func (rs *records) save(r *record) error {
	r.Version = recordVersion
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the record of %s: %w", r.Volume, err)
	}
	tmp := rs.path(r.Volume) + ".tmp"
	if err := writeSynced(tmp, append(data, '\n')); err != nil {
		return fmt.Errorf("write the record of %s: %w", r.Volume, err)
	}
	if err := os.Rename(tmp, rs.path(r.Volume)); err != nil {
		return fmt.Errorf("replace the record of %s: %w", r.Volume, err)
	}
	return nil
}

// remove deletes a volume's record, if there is one.
func (rs *records) remove(id actors.VolumeID) error {
	if err := os.Remove(rs.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete the record of %s: %w", id, err)
	}
	return nil
}

func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
