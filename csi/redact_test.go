// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"reflect"
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const secret = "hunter2"

func TestRedactedRequest(t *testing.T) {
	req := &csipb.CreateVolumeRequest{
		Name:       "disk",
		Parameters: map[string]string{"fencing": "host"},
		Secrets:    map[string]string{"password": secret},
		VolumeCapabilities: []*csipb.VolumeCapability{{AccessType: &csipb.VolumeCapability_Mount{
			Mount: &csipb.VolumeCapability_MountVolume{FsType: "ext4", MountFlags: []string{"password=" + secret}},
		}}},
	}
	before := proto.Clone(req)
	got := redacted{req}.LogValue().String()
	if strings.Contains(got, secret) {
		t.Errorf("the log has the secret: %s", got)
	}
	for _, word := range []string{`"disk"`, `"host"`, `"password"`, `"ext4"`} {
		if !strings.Contains(got, word) {
			t.Errorf("the log lacks %s: %s", word, got)
		}
	}
	if !proto.Equal(req, before) {
		t.Error("the request itself was changed")
	}
	if got := (redacted{secret}).LogValue().String(); strings.Contains(got, secret) {
		t.Errorf("something that is no message is logged as %s", got)
	}
}

// TestRedactedEverySecret fills every secret field of every message of CSI, and those of the messages
// inside, and looks for one that is left.
func TestRedactedEverySecret(t *testing.T) {
	fields := 0
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() != "csi.v1" {
			return true
		}
		m := mt.New()
		fields += fillSecrets(m, 3)
		if got := (redacted{m.Interface()}).LogValue().String(); strings.Contains(got, secret) {
			t.Errorf("%s is logged with its secret: %s", mt.Descriptor().FullName(), got)
		}
		return true
	})
	if fields < 20 {
		t.Errorf("filled %d secret fields only: the test does not find them", fields)
	}
}

// fillSecrets fills the fields that the specification marks, to a depth, and returns how many.
func fillSecrets(m protoreflect.Message, depth int) int {
	n := 0
	if depth == 0 {
		return n
	}
	list := m.Descriptor().Fields()
	for i := range list.Len() {
		f := list.Get(i)
		marked, _ := proto.GetExtension(f.Options(), csipb.E_CsiSecret).(bool)
		switch {
		case marked && f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString(secret))
			n++
		case marked && f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOfString(secret))
			n++
		case marked && f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(secret))
			n++
		case marked:
			panic("a secret field of a new type: " + string(f.FullName()) + " " + reflect.TypeOf(f.Kind()).String())
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			e := m.Mutable(f).List().NewElement()
			n += fillSecrets(e.Message(), depth-1)
			m.Mutable(f).List().Append(e)
		default:
			n += fillSecrets(m.Mutable(f).Message(), depth-1)
		}
	}
	return n
}
