// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"log/slog"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// stripped stands in a log for what is not told.
const stripped = "***stripped***"

// A redacted is a CSI message as it may be logged: without the values of fields that the
// specification marks as secret, and without mount flags, which it says may be. The work is done
// only if the record is written.
type redacted struct{ msg any }

// LogValue implements slog.LogValuer.
func (r redacted) LogValue() slog.Value {
	m, ok := r.msg.(proto.Message)
	if !ok {
		return slog.StringValue(stripped)
	}
	m = proto.Clone(m)
	redact(m.ProtoReflect())
	b, err := protojson.Marshal(m)
	if err != nil {
		return slog.StringValue(stripped)
	}
	return slog.StringValue(string(b))
}

// redact overwrites the sensitive fields of m and of every message in it.
func redact(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case sensitive(f):
			hide(m, f, v)
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool { redact(e.Message()); return true })
			}
		case f.IsList():
			if f.Message() != nil {
				for i := range v.List().Len() {
					redact(v.List().Get(i).Message())
				}
			}
		case f.Message() != nil:
			redact(v.Message())
		}
		return true
	})
}

// sensitive reports whether a field may hold a secret. Unknown fields of a newer CO are not printed
// by protojson.
func sensitive(f protoreflect.FieldDescriptor) bool {
	secret, _ := proto.GetExtension(f.Options(), csipb.E_CsiSecret).(bool)
	return secret || f.Name() == "mount_flags"
}

// hide keeps the keys of a map, which say which secrets came, and nothing of any other field.
func hide(m protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.IsMap() && f.MapValue().Kind() == protoreflect.StringKind:
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			v.Map().Set(k, protoreflect.ValueOfString(stripped))
			return true
		})
	case f.Kind() == protoreflect.StringKind && f.IsList():
		for i := range v.List().Len() {
			v.List().Set(i, protoreflect.ValueOfString(stripped))
		}
	default:
		m.Clear(f)
	}
}
