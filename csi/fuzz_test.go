// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"errors"
	"regexp"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

// console is what no RouterOS console interprets: the alphabet of everything that reaches the box.
var console = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

// FuzzParameters holds that a StorageClass is refused as invalid or leads to values in their bounds.
func FuzzParameters(f *testing.F) {
	for _, k := range known {
		f.Add(k.key, "4420")
	}
	f.Add(keyVolumePath, "/raid10/a")
	f.Add(keyNVMePort, "4420-8515")
	f.Add(keyNQNPrefix, "nqn.2000-02.com.mikrotik")
	f.Add(keyFencing, "host")
	c := &Controller{cfg: Config{BoxAddress: "10.0.0.1", NVMeAddress: "10.0.0.1", VolumePath: "/raid10/volumes"}}
	id := actors.VolumeID("pvc-11111111-1111-4111-8111-111111111111")
	f.Fuzz(func(t *testing.T, key, value string) {
		p, err := c.parseParameters(map[string]string{key: value})
		if err != nil {
			if !errors.Is(err, actors.ErrInvalid) {
				t.Fatalf("%q=%q: %v is not ErrInvalid", key, value, err)
			}
			return
		}
		s := c.spec(createRequest{id: id, params: p, size: 512})
		nqn := actors.NQN(p.nqnPrefix, id, 1<<62)
		switch {
		case !console.MatchString(s.VolumePath) || !console.MatchString(s.NQN) || !console.MatchString(p.nvmeAddress):
			t.Fatalf("%q=%q reaches the box's console as %+v", key, value, s)
		case len(nqn) > 223:
			t.Fatalf("%q=%q makes an NQN of %d bytes", key, value, len(nqn))
		case s.Ports.First < 1024 || s.Ports.First > s.Ports.Last:
			t.Fatalf("%q=%q makes the ports %v", key, value, s.Ports)
		case p.timeout < actors.MinTimeout || p.timeout > actors.MaxTimeout:
			t.Fatalf("%q=%q makes the timeout %d", key, value, p.timeout)
		}
		if _, ok := actors.NQNPrefix(nqn, id); !ok {
			t.Fatalf("%q=%q makes the NQN %s, which does not name the volume", key, value, nqn)
		}
	})
}

// FuzzVolumeID holds that a name is refused as invalid or always has the same well-formed ID.
func FuzzVolumeID(f *testing.F) {
	f.Add("pvc-11111111-1111-4111-8111-111111111111")
	f.Add("my disk")
	f.Add("a\x00b")
	f.Fuzz(func(t *testing.T, name string) {
		id, err := volumeIDOf(name)
		if err != nil {
			if !errors.Is(err, actors.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", name, err)
			}
			return
		}
		if err := id.Check(); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if again, err := volumeIDOf(name); again != id || err != nil {
			t.Fatalf("%q is %s, then %s, %v", name, id, again, err)
		}
		if _, err := checkVolumeID(string(id)); err != nil {
			t.Fatalf("%q: its ID is refused: %v", name, err)
		}
	})
}
