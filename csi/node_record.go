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
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/nvme"
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
	// Boot is of the machine's run in which the volume was staged: after a reboot nothing of it is left, and
	// nothing is wrong. Empty: was not told.
	Boot string `json:"boot,omitempty"`
	// Content is the filesystem that was staged, by Filesystems.Identify. Empty: was not read, and always of
	// a block volume.
	Content string `json:"content,omitempty"`
	// Formatting says that a filesystem was begun on the volume, which was blank, under this NQN, and that the staging has
	// not ended since: nothing else was ever written to it.
	Formatting bool `json:"formatting,omitempty"`
	// Target is where the volume was connected. Nil: an earlier version staged it, and did not keep that.
	Target *reach `json:"target,omitempty"`
	// Repairing says that the staging path is without a mount because a repair took the dead one down.
	Repairing bool `json:"repairing,omitempty"`
	// Published is in the order of publishing.
	Published []publication `json:"published,omitempty"`
}

// A reach is what the publish and volume contexts told of a volume's target, so that it can be connected again
// without them.
type reach struct {
	Address         string `json:"address"`
	Port            uint16 `json:"port"`
	HostNQN         string `json:"hostNQN"`
	HostID          string `json:"hostID"`
	ReconnectDelay  int    `json:"reconnectDelay,omitempty"`  // seconds
	CtrlLossTimeout int    `json:"ctrlLossTimeout,omitempty"` // seconds, negative: none
	KeepAlive       int    `json:"keepAlive,omitempty"`       // seconds
	// Unfenced says that the volume stays exported when this node is detached, so that whoever can connect
	// need not be the one who may.
	Unfenced bool `json:"unfenced,omitempty"`
}

// reachOf keeps a target. Without an epoch an NQN outlives the attachment that it was published for.
func reachOf(id actors.VolumeID, t nvme.Target, volume map[string]string) *reach {
	return &reach{
		Address: t.Address, Port: t.Port, HostNQN: t.Host.NQN, HostID: t.Host.ID,
		ReconnectDelay: t.ReconnectDelay, CtrlLossTimeout: t.CtrlLossTimeout, KeepAlive: t.KeepAlive,
		Unfenced: strings.HasSuffix(t.NQN, ":"+string(id)) || volume[keyFencing] == actors.FencingNone.String(),
	}
}

// target returns the target that a record was staged from, and false where it was not kept.
func (r *record) target() (nvme.Target, bool) {
	if r.Target == nil {
		return nvme.Target{}, false
	}
	return nvme.Target{
		NQN: r.NQN, Address: r.Target.Address, Port: r.Target.Port,
		Host:           actors.Host{NQN: r.Target.HostNQN, ID: r.Target.HostID},
		ReconnectDelay: r.Target.ReconnectDelay, CtrlLossTimeout: r.Target.CtrlLossTimeout, KeepAlive: r.Target.KeepAlive,
		Size: r.Size, ReadOnly: r.Access.ReadOnly,
	}, true
}

// paths are where the volume should be seen: the staging path, then those where it is published.
func (r *record) paths() []string {
	paths := []string{r.Staging}
	for _, p := range r.Published {
		paths = append(paths, p.Target)
	}
	return paths
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

// list returns the volumes that have a record.
func (rs *records) list() ([]actors.VolumeID, error) {
	entries, err := os.ReadDir(rs.dir)
	if err != nil {
		return nil, fmt.Errorf("list the records: %w", err)
	}
	var ids []actors.VolumeID
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			ids = append(ids, actors.VolumeID(name))
		}
	}
	return ids, nil
}

// has reports whether a volume has a record.
func (rs *records) has(id actors.VolumeID) bool {
	_, err := os.Stat(rs.path(id))
	return err == nil
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

// save replaces a volume's record. When it returns, no loss of power brings back the one before.
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
	if err := syncDir(rs.dir); err != nil {
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

// syncDir makes durable which files a directory has.
func syncDir(path string) (err error) {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
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
