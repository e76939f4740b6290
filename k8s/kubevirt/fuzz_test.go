// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/rds-csi/rds-csi/actors"
)

// FuzzClassify holds what is true of any two objects: nothing panics, and KubeVirt is never said to have
// decided what its words leave open.
func FuzzClassify(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"metadata":{"uid":"v","name":"web"},"spec":{"domain":{"memory":{"guest":"4Gi"}},"volumes":[{"dataVolume":{"name":"d"}}]},"status":{"nodeName":"b","phase":"Running","migrationState":{"migrationUid":"j","sourceNode":"a","targetNode":"b","completed":true,"startTimestamp":"2026-03-01T10:00:00Z","migrationConfiguration":{"completionTimeoutPerGiB":150,"allowPostCopy":true}}}}`, `{"metadata":{"uid":"j"},"spec":{"vmiName":"web"},"status":{"phase":"Succeeded"}}`},
		{`{"status":{"nodeName":"a","phase":"Failed"}}`, `{"metadata":{"uid":"j"},"status":{"phase":"Failed","migrationState":{"migrationUid":"j","sourceNode":"a","targetNode":"b","failed":true,"failureReason":"x","mode":"PostCopy"}}}`},
		{`{"spec":[],"status":{"migrationState":{"migrationUid":1,"completed":"yes"},"volumeStatus":[1,{"persistentVolumeClaimInfo":[]}]}}`, `{"spec":"x","status":{"migrationState":[]}}`},
		{`{}`, `{"metadata":{"creationTimestamp":1,"deletionTimestamp":{}},"status":{"phase":{}}}`},
		{``, `{"metadata":{"uid":"j"},"status":{"phase":"Running"}}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, vmText, jobText string) {
		var vm *instance
		var j *job
		if u := fuzzed(vmText); u != nil {
			vm = newInstance(u)
			routes(vm, nil, func(string) string { return "b" })
		}
		if u := fuzzed(jobText); u != nil {
			j = newJob(u)
			if vm != nil {
				routes(vm, []*job{j, j}, func(string) string { return "b" })
			}
		}
		m, ok := classify(vm, j, "a", "b")
		if !ok {
			if m != (actors.Migration{}) {
				t.Errorf("no migration, and %+v", m)
			}
			return
		}
		if m.Limit < 0 || m.Limit > maxLimit+maxGrace*time.Second {
			t.Errorf("limit %v", m.Limit)
		}
		if len(m.Reason) > maxReason || !utf8.ValidString(m.Reason) {
			t.Errorf("reason %q", m.Reason)
		}
		s := newAccount(vm, j).state
		switch m.Verdict {
		case actors.VerdictSucceeded:
			if s != nil && (s.failed || s.aborted) || vm != nil && vm.node == "a" && vm.state == s {
				t.Errorf("succeeded: %q, %q", vmText, jobText)
			}
		case actors.VerdictFailed:
			moved := vm != nil && vm.node == "b" && (vm.state == nil || vm.state == s)
			if moved || s != nil && s.completed && !s.failed && !s.aborted {
				t.Errorf("failed: %q, %q", vmText, jobText)
			}
		case actors.VerdictOpen:
			if s != nil && (s.failed || s.completed) || vm != nil && vm.final() {
				t.Errorf("open: %q, %q", vmText, jobText)
			}
		case actors.VerdictUncertain:
		}
	})
}

func fuzzed(text string) *unstructured.Unstructured {
	var content map[string]any
	if err := json.Unmarshal([]byte(text), &content); err != nil || content == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: content}
}
