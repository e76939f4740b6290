// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/rds-csi/rds-csi/actors"
)

func modes(block bool, modes ...corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolume) {
	return func(p *corev1.PersistentVolume) {
		p.Spec.AccessModes = modes
		if block {
			mode := corev1.PersistentVolumeBlock
			p.Spec.VolumeMode = &mode
		}
	}
}

// shared is the PersistentVolume of a VM's disk.
func shared(p *corev1.PersistentVolume) { modes(true, corev1.ReadWriteMany)(p) }

func timeout(value string) func(*corev1.PersistentVolume) {
	return func(p *corev1.PersistentVolume) {
		p.Spec.CSI.VolumeAttributes = map[string]string{"migrationTimeoutSeconds": value}
	}
}

// granted is a grant of so many seconds after birth.
func granted(node actors.NodeID, seconds int64) actors.Grant {
	return actors.Grant{Node: node, At: actors.TokenAt(birth) + actors.Token(1000*seconds)}
}

func (c *cluster) wantAdoption(want actors.Adoption) {
	c.t.Helper()
	if got, err := c.attachments.Adopt(c.t.Context(), volume); err != nil || !reflect.DeepEqual(got, want) {
		c.t.Errorf("Adopt = %+v, %v, want %+v", got, err, want)
	}
}

func (c *cluster) wantNoAdoption(kind error, text string) {
	c.t.Helper()
	got, err := c.attachments.Adopt(c.t.Context(), volume)
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) || !reflect.DeepEqual(got, actors.Adoption{}) {
		c.t.Errorf("Adopt = %+v, %v, want %v with %q", got, err, kind, text)
	}
}

func TestAdoptAccess(t *testing.T) {
	const (
		rwo, rwop = corev1.ReadWriteOnce, corev1.ReadWriteOncePod
		rox, rwx  = corev1.ReadOnlyMany, corev1.ReadWriteMany
	)
	for _, test := range []struct {
		block bool
		modes []corev1.PersistentVolumeAccessMode
		want  actors.Access // AccessNone: refused
		text  string
	}{
		{true, []corev1.PersistentVolumeAccessMode{rwx}, actors.AccessShared, ""},
		{true, []corev1.PersistentVolumeAccessMode{rwo, rox, rwx}, actors.AccessShared, ""},
		{true, []corev1.PersistentVolumeAccessMode{rwo}, actors.AccessSingle, ""},
		{false, []corev1.PersistentVolumeAccessMode{rwo}, actors.AccessSingle, ""},
		{false, []corev1.PersistentVolumeAccessMode{rwop}, actors.AccessSingle, ""},
		{false, []corev1.PersistentVolumeAccessMode{rox}, actors.AccessReader, ""},
		{true, []corev1.PersistentVolumeAccessMode{rox}, actors.AccessReader, ""},
		{false, []corev1.PersistentVolumeAccessMode{rox, rwo}, actors.AccessSingle, ""}, // who writes must not be taken for a reader
		{false, []corev1.PersistentVolumeAccessMode{rwo, rwx}, actors.AccessSingle, ""},
		{false, []corev1.PersistentVolumeAccessMode{rwx, rox}, actors.AccessReader, ""},
		{false, []corev1.PersistentVolumeAccessMode{rwx}, actors.AccessNone, "ReadWriteMany with a filesystem"},
		{true, nil, actors.AccessNone, "no access mode"},
		{true, []corev1.PersistentVolumeAccessMode{"ReadWriteTwice"}, actors.AccessNone, "ReadWriteTwice"},
	} {
		t.Run(fmt.Sprint(test.block, test.modes), func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				if test.want == actors.AccessNone {
					c.wantNoAdoption(actors.ErrPrecondition, test.text)
					return
				}
				c.wantAdoption(actors.Adoption{Access: test.want, Timeout: 300})
			}, disk(volume, modes(test.block, test.modes...)))
		})
	}
	filesystem := corev1.PersistentVolumeFilesystem
	inCluster(t, func(c *cluster) {
		c.wantNoAdoption(actors.ErrPrecondition, "ReadWriteMany with a filesystem")
	}, disk(volume, shared, func(p *corev1.PersistentVolume) { p.Spec.VolumeMode = &filesystem }))
}

// A volume of this driver whose ledger was lost keeps the fence that its StorageClass promised.
func TestAdoptFencing(t *testing.T) {
	with := func(value string) func(*corev1.PersistentVolume) {
		return func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeAttributes = map[string]string{"fencing": value} }
	}
	for value, want := range map[string]actors.Fencing{
		"": 0, "epoch": actors.FencingEpoch, "host": actors.FencingHost, "none": actors.FencingNone,
	} {
		inCluster(t, func(c *cluster) {
			c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: 300, Fencing: want})
		}, disk(volume, shared, with(value)))
	}
	inCluster(t, func(c *cluster) {
		c.wantNoAdoption(actors.ErrPrecondition, "epoch, host, none")
	}, disk(volume, shared, with("hots")))
}

func TestAdoptTimeout(t *testing.T) {
	for value, want := range map[string]int{
		"": 300, "30": 30, "900": 900, "3600": 3600, "29": 300, "3601": 300, "-1": 300, "5m": 300, strings.Repeat("9", 99): 300,
	} {
		inCluster(t, func(c *cluster) {
			c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: want})
			if value != "" && want == 300 {
				c.wantLog(1, "migration timeout of a volume is not one", value[:min(len(value), 32)])
			} else {
				c.wantLog(0)
			}
		}, disk(volume, shared, timeout(value)))
	}
}

func TestAdoptGrants(t *testing.T) {
	reader := modes(false, corev1.ReadOnlyMany)
	single := modes(false, corev1.ReadWriteOnce)
	hand := disk("by-hand", shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) })
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		want    []actors.Grant
	}{
		{"detached", []runtime.Object{disk(volume, shared)}, nil},
		{"attached", []runtime.Object{disk(volume, shared), attach(volume, worker)}, []actors.Grant{granted(worker, 0)}},
		{"not yet", []runtime.Object{disk(volume, shared), attach(volume, worker, notYet)}, nil},
		{"leaving", []runtime.Object{disk(volume, shared), attach(volume, worker, leaving)}, []actors.Grant{granted(worker, 0)}},
		{
			"a migration, the newer is its target",
			[]runtime.Object{disk(volume, shared), attach(volume, worker, at(60)), attach(volume, worker2, at(1))},
			[]actors.Grant{granted(worker2, 1), granted(worker, 60)},
		},
		{
			"at once, then by name",
			[]runtime.Object{disk(volume, shared), attach(volume, worker, named("b")), attach(volume, worker2, named("a"))},
			[]actors.Grant{granted(worker2, 0), granted(worker, 0)},
		},
		{
			"twice for a node, the older counts",
			[]runtime.Object{disk(volume, single), attach(volume, worker, at(9)), attach(volume, worker, at(3), named("hand"))},
			[]actors.Grant{granted(worker, 3)},
		},
		{
			"readers",
			[]runtime.Object{disk(volume, reader), attach(volume, worker), attach(volume, worker2, at(1)), attach(volume, worker3, at(2))},
			[]actors.Grant{granted(worker, 0), granted(worker2, 1), granted(worker3, 2)},
		},
		{
			"of others",
			[]runtime.Object{
				disk(volume, shared), disk(volume2, shared), attach(volume2, worker), attach(volume, worker2, by("other.example")),
				attach(volume, worker3, named("inline"), inline(driver, volume2)), attach(volume, worker3, inline("other.example", volume)),
			},
			nil,
		},
		{"inline", []runtime.Object{disk(volume, shared), attach(volume, worker, inline(driver, volume))}, []actors.Grant{granted(worker, 0)}},
		{"a volume by another name", []runtime.Object{hand, attach(volume, worker, of("by-hand"))}, []actors.Grant{granted(worker, 0)}},
		{
			"two volumes by its handle",
			[]runtime.Object{hand, disk(volume, shared), attach(volume, worker, of("by-hand"), named("x")), attach(volume, worker2, at(1))},
			[]actors.Grant{granted(worker, 0), granted(worker2, 1)},
		},
		{
			"made for it, whatever it names since",
			[]runtime.Object{disk(volume, shared), attach(volume, worker, of("pvc-gone"))},
			[]actors.Grant{granted(worker, 0)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inCluster(t, func(c *cluster) {
				got, err := c.attachments.Adopt(c.t.Context(), volume)
				if err != nil || !reflect.DeepEqual(got.Grants, test.want) {
					t.Errorf("Adopt = %+v, %v, want %+v", got, err, test.want)
				}
			}, test.objects...)
		})
	}
}

// A restart must find the same source and the same target.
func TestGrantsOfOneSecondAreInTheOrderOfNames(t *testing.T) {
	a, b := *attach(volume, worker2, named("a")), *attach(volume, worker, named("b"))
	want := []actors.Grant{granted(worker2, 0), granted(worker, 0)}
	for _, order := range [][]storagev1.VolumeAttachment{{a, b}, {b, a}} {
		if got := grantsOf(order); !reflect.DeepEqual(got, want) {
			t.Errorf("grants are %+v, want %+v", got, want)
		}
	}
}

// What no ledger may say is for a person to mend, not for the driver to choose.
func TestAdoptRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		text    string
	}{
		{"no volume", nil, "no PersistentVolume of driver rds.csi.srvlab.io"},
		{"of another driver", []runtime.Object{disk(volume, shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.Driver = "other.example" })}, "no PersistentVolume"},
		{"of no driver", []runtime.Object{disk(volume, shared, func(p *corev1.PersistentVolume) { p.Spec.CSI = nil })}, "no PersistentVolume"},
		{"with another handle", []runtime.Object{disk(volume, shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume2) })}, "no PersistentVolume"},
		{
			"two writers",
			[]runtime.Object{disk(volume, modes(false, corev1.ReadWriteOnce)), attach(volume, worker), attach(volume, worker2, at(1))},
			"ReadWriteOnce, is attached to 2 nodes by its VolumeAttachments, the first to worker-1 and worker-2",
		},
		{
			"three nodes of a migration",
			[]runtime.Object{disk(volume, shared), attach(volume, worker), attach(volume, worker2, at(1)), attach(volume, worker3, at(2))},
			"ReadWriteMany, is attached to 3 nodes",
		},
		{"a node that has no name", []runtime.Object{disk(volume, shared), attach(volume, "Worker")}, "cannot be recorded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inCluster(t, func(c *cluster) { c.wantNoAdoption(actors.ErrPrecondition, test.text) }, test.objects...)
		})
	}
}

// Caches lie: what the API server says now decides.
func TestAdoptAsksLive(t *testing.T) {
	missing := apierrors.NewNotFound(corev1.Resource("persistentvolumes"), "x")
	t.Run("gone a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("persistentvolumes", string(volume), nil, missing)
			c.has("persistentvolumes", "by-hand", nil, missing)
			c.wantNoAdoption(actors.ErrPrecondition, "no PersistentVolume")
		}, disk(volume, shared), disk("by-hand", shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) }))
	})
	t.Run("made a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("persistentvolumes", string(volume), disk(volume, shared, timeout("77")), nil)
			c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: 77})
		})
	})
	t.Run("by another name, made anew a moment ago with another handle", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			c.has("persistentvolumes", "by-hand", disk("by-hand", shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume2) }), nil)
			c.wantNoAdoption(actors.ErrPrecondition, "no PersistentVolume")
		}, disk("by-hand", shared, func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) }))
	})
	t.Run("attached a moment ago", func(t *testing.T) {
		inCluster(t, func(c *cluster) {
			store := c.attachments.informer.GetStore()
			if err := store.Delete(attach(volume, worker)); err != nil {
				t.Fatal(err)
			}
			c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: 300, Grants: []actors.Grant{granted(worker, 0)}})
		}, disk(volume, shared), attach(volume, worker))
	})
}

// The one that a claim uses says how, also where an older one of the same volume is still there.
func TestAdoptTakesTheVolumeInUse(t *testing.T) {
	old := disk(volume, modes(false, corev1.ReadWriteOnce), func(p *corev1.PersistentVolume) { p.Status.Phase = corev1.VolumeReleased })
	inUse := disk("restored", shared, timeout("600"), func(p *corev1.PersistentVolume) { p.Spec.CSI.VolumeHandle = string(volume) })
	inCluster(t, func(c *cluster) {
		c.wantAdoption(actors.Adoption{Access: actors.AccessShared, Timeout: 600})
	}, old, inUse)
}

func TestAdoptFailsClosed(t *testing.T) {
	for name, failure := range troubles() {
		for verb, kind := range map[string]string{"get": "persistentvolumes", "list": "volumeattachments"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				inCluster(t, func(c *cluster) {
					c.fails(verb, kind, failure)
					c.wantNoAdoption(actors.ErrUnavailable, kind[:1]) // any text
				}, disk(volume, shared))
			})
		}
	}
	inBubble(t, func(c *cluster) {
		c.wantNoAdoption(actors.ErrUnavailable, "not filled")
	}, disk(volume, shared))
}
