// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/rds-csi/rds-csi/actors"
)

// surveyed is a VolumeAttachment of a PersistentVolume.
func surveyed(name, pv, node string, change func(*storagev1.VolumeAttachment)) *storagev1.VolumeAttachment {
	va := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Time{Time: time.Unix(1, 0)}},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv},
		},
	}
	if change != nil {
		change(va)
	}
	return va
}

func TestSurvey(t *testing.T) {
	pv := func(name string, handle actors.VolumeID, of string, claim *corev1.ObjectReference) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			ClaimRef:               claim,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: of, VolumeHandle: string(handle)}},
		}}
	}
	client := fake.NewClientset(
		pv("disk", volume, driver, &corev1.ObjectReference{Namespace: "prod", Name: "vm"}),
		pv("disk-before", volume, driver, nil),
		pv("bare", volume2, driver, nil),
		pv("alien", "x", "other.driver", nil),
		surveyed("a", "disk", "worker-2", func(va *storagev1.VolumeAttachment) { va.Status.Attached = true }),
		surveyed("b", "disk", "worker-1", nil),
		surveyed("c", "bare", "worker-1", func(va *storagev1.VolumeAttachment) {
			va.Status.Attached, va.DeletionTimestamp = true, &metav1.Time{Time: time.Unix(2, 0)}
		}),
		surveyed(attachmentName(volume2, driver, worker2), string(volume2), string(worker2), nil), // its PersistentVolume is gone
		surveyed("d", "unseen", "worker-1", nil),
		surveyed("e", "disk", "worker-3", func(va *storagev1.VolumeAttachment) { va.Spec.Attacher = "other.driver" }),
	)
	s, err := TakeSurvey(t.Context(), client, driver)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[actors.VolumeID]string{volume: "prod/vm", volume2: "bare"}; !reflect.DeepEqual(s.Claims, want) {
		t.Errorf("claims %v", s.Claims)
	}
	since := metav1.Unix(1, 0).Time
	want := map[actors.VolumeID][]Attachment{
		volume: {{"b", "worker-1", Attaching, since}, {"a", "worker-2", AttachedTo, since}},
		volume2: {
			{"c", "worker-1", BeingDeleted, since}, {attachmentName(volume2, driver, worker2), worker2, Attaching, since},
		},
	}
	if !reflect.DeepEqual(s.Attachments, want) {
		t.Errorf("attachments %+v", s.Attachments)
	}
	if !slices.Equal(s.Unmapped, []string{"d"}) {
		t.Errorf("unmapped %v", s.Unmapped)
	}
}

func TestASurveyThatCannotBeTaken(t *testing.T) {
	for _, resource := range []string{"volumeattachments", "persistentvolumes", "pods"} {
		client := fake.NewClientset()
		client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("forbidden")
		})
		_, err := TakeSurvey(t.Context(), client, driver)
		if resource == "pods" {
			_, err = Users(t.Context(), client, "prod", "vm", worker)
		}
		if !errors.Is(err, actors.ErrUnavailable) {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

func TestUsers(t *testing.T) {
	pod := func(name, node, claim string, labels, annotations map[string]string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, Labels: labels, Annotations: annotations},
			Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}}}},
		}
	}
	client := fake.NewClientset(
		pod("launcher", string(worker), "vm", map[string]string{"vm.kubevirt.io/name": "web"}, nil),
		pod("launcher-2", string(worker), "vm", nil, map[string]string{"kubevirt.io/domain": "db"}),
		pod("reader", string(worker), "vm", nil, nil),
		pod("elsewhere", "worker-9", "vm", nil, nil),
		pod("other", string(worker), "x", nil, nil),
	)
	got, err := Users(t.Context(), client, "prod", "vm", worker)
	want := []string{"VM prod/web (pod launcher)", "VM prod/db (pod launcher-2)", "pod prod/reader"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Users = %q, %v, want %q", got, err, want)
	}
}
