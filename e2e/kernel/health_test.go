// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import "testing"

func TestAConditionIsRead(t *testing.T) {
	for name, tt := range map[string]struct {
		unknown  string
		abnormal bool
		message  string
		fails    bool
	}{
		"well":             {unknown: "\x12\x08\x08\x00\x12\x04fine", message: "fine"},
		"ill":              {unknown: "\x12\x08\x08\x01\x12\x04gone", abnormal: true, message: "gone"},
		"none":             {fails: true},
		"another field":    {unknown: "\x1a\x08\x08\x01\x12\x04gone", fails: true},
		"without a text":   {unknown: "\x12\x02\x08\x01", fails: true},
		"cut off":          {unknown: "\x12\x08\x08", fails: true},
		"the text is long": {unknown: "\x12\x08\x08\x01\x12\x0cgone", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			abnormal, message, err := condition([]byte(tt.unknown))
			if (err != nil) != tt.fails || abnormal != tt.abnormal || message != tt.message {
				t.Errorf("got %t, %q, %v", abnormal, message, err)
			}
		})
	}
}
