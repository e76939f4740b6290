// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
)

// maxText bounds what an event says, in bytes.
const maxText = 1024

var errRepeated = errors.New("its object gets too many events")

// A poster makes events and writes them. client-go's recorder is not used for that, only what stands
// behind it: it drops events without telling, and cannot be waited for. It is used by one goroutine.
type poster struct {
	client     kubernetes.Interface
	timeout    time.Duration
	driver     string
	instance   string
	correlator *record.EventCorrelator
	last       int64 // in the name of the latest event
}

// count makes an event about an object, or finds that it is one more of an earlier event. The events of
// objects without a namespace stand in the default one.
func (p *poster) count(n note, about *corev1.ObjectReference) (*record.EventCorrelateResult, error) {
	now := time.Now()
	if n.at.IsZero() {
		n.at = now
	}
	// Two events on one object must not have one name.
	p.last = max(p.last+1, now.UnixNano())
	result, err := p.correlator.EventCorrelate(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      util.GenerateEventName(about.Name, p.last),
			Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault),
		},
		InvolvedObject:      *about,
		Reason:              n.reason,
		Message:             strings.ToValidUTF8(n.text[:min(len(n.text), maxText)], ""),
		Type:                n.kind(),
		FirstTimestamp:      metav1.NewTime(n.at),
		LastTimestamp:       metav1.NewTime(n.at),
		Count:               1,
		Source:              corev1.EventSource{Component: p.driver},
		ReportingController: p.driver,
		ReportingInstance:   p.instance,
	})
	switch {
	case err != nil:
		return nil, &dropError{cause: "rejected", err: fmt.Errorf("compare an event with earlier ones: %w", err)}
	case result.Skip:
		return nil, &dropError{cause: "repeated", err: errRepeated}
	}
	return result, nil
}

// write puts an event into the cluster. A dropError is final, any other may pass.
func (p *poster) write(ctx context.Context, counted *record.EventCorrelateResult) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	event, err := p.send(ctx, counted)
	switch {
	case err == nil:
		p.correlator.UpdateState(event)
		return nil
	case apierrors.IsAlreadyExists(err): // the answer to an earlier try was lost
		return nil
	case refused(err):
		return &dropError{cause: "rejected", err: err}
	}
	return err
}

func (p *poster) send(ctx context.Context, counted *record.EventCorrelateResult) (*corev1.Event, error) {
	events := p.client.CoreV1().Events(counted.Event.Namespace)
	if counted.Event.Count > 1 {
		event, err := events.Patch(ctx, counted.Event.Name, types.StrategicMergePatchType, counted.Patch, metav1.PatchOptions{})
		if err == nil || !Gone(err) {
			return event, err
		}
		// The event that was to be counted up is too old to be there.
	}
	fresh := counted.Event.DeepCopy()
	fresh.ResourceVersion = ""
	return events.Create(ctx, fresh, metav1.CreateOptions{})
}

// refused reports whether the API server will never take the event.
func refused(err error) bool {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest,
		metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonRequestEntityTooLarge:
		return true
	case metav1.StatusReasonNotFound: // the namespace is gone
		return Gone(err)
	}
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
