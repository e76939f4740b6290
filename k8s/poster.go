// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"cmp"
	"context"
	"encoding/json"
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
)

// maxText bounds what an event says, in bytes.
const maxText = 1024

var (
	errRepeated = errors.New("its object gets too many events")
	errThere    = errors.New("it is there: the answer to an earlier try was lost")
	errTold     = errors.New("a process before this one told it")
)

// A poster makes events and writes them. client-go's recorder is not used for that, only what stands
// behind it: it drops events without telling, and cannot be waited for. It is used by one goroutine, but
// for event, find and create.
//
// An event's name is derived from what it tells, so that the cluster itself remembers what was told: by this
// process, by the one before it, or by another one that took itself for the leader.
type poster struct {
	client     kubernetes.Interface
	timeout    time.Duration
	driver     string
	instance   string
	correlator *record.EventCorrelator
}

// event makes an event about an object. The events of objects without a namespace stand in the default one.
func (p *poster) event(n note, about *corev1.ObjectReference) *corev1.Event {
	if n.at.IsZero() {
		n.at = time.Now()
	}
	n.text = strings.ToValidUTF8(n.text[:min(len(n.text), maxText)], "")
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      n.name(about),
			Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault),
		},
		InvolvedObject:      *about,
		Reason:              n.reason,
		Message:             n.text,
		Type:                n.kind(),
		FirstTimestamp:      metav1.NewTime(n.at),
		LastTimestamp:       metav1.NewTime(n.at),
		Count:               1,
		Source:              corev1.EventSource{Component: p.driver},
		ReportingController: p.driver,
		ReportingInstance:   p.instance,
	}
}

// count makes an event about an object, or finds that it is one more of an earlier event. Of what happens
// once there is no more than one.
func (p *poster) count(n note, about *corev1.ObjectReference) (*record.EventCorrelateResult, error) {
	event := p.event(n, about)
	if n.once() {
		return &record.EventCorrelateResult{Event: event}, nil
	}
	result, err := p.correlator.EventCorrelate(event)
	switch {
	case err != nil:
		return nil, &dropError{cause: "rejected", err: fmt.Errorf("compare an event with earlier ones: %w", err)}
	case result.Skip:
		return nil, &dropError{cause: "repeated", err: errRepeated}
	}
	return result, nil
}

// write puts an event into the cluster. A dropError and errTold are final, any other error may pass.
func (p *poster) write(ctx context.Context, n note, counted *record.EventCorrelateResult) error {
	event, err := p.send(ctx, counted)
	if apierrors.IsAlreadyExists(err) && !n.once() {
		event, err = p.resume(ctx, n, counted)
	}
	switch {
	case err == nil:
		p.correlator.UpdateState(event)
		return nil
	case apierrors.IsAlreadyExists(err), errors.Is(err, errThere): // by this process, or by another one
		return nil
	case refused(err):
		return &dropError{cause: "rejected", err: err}
	}
	return err
}

func (p *poster) send(ctx context.Context, counted *record.EventCorrelateResult) (*corev1.Event, error) {
	if counted.Event.Count > 1 {
		event, err := p.patch(ctx, counted)
		if err == nil || !Gone(err) {
			return event, err
		}
		// The event that was to be counted up is too old to be there.
	}
	return p.create(ctx, counted.Event)
}

func (p *poster) patch(ctx context.Context, counted *record.EventCorrelateResult) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	events := p.client.CoreV1().Events(counted.Event.Namespace)
	return events.Patch(ctx, counted.Event.Name, types.StrategicMergePatchType, counted.Patch, metav1.PatchOptions{})
}

func (p *poster) create(ctx context.Context, event *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	fresh := event.DeepCopy()
	fresh.ResourceVersion = ""
	return p.client.CoreV1().Events(fresh.Namespace).Create(ctx, fresh, metav1.CreateOptions{})
}

// find returns the event of that name as it stands in the cluster.
func (p *poster) find(ctx context.Context, namespace, name string) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return p.client.CoreV1().Events(namespace).Get(ctx, name, metav1.GetOptions{})
}

// resume counts up an event that a process before this one posted, as that process would have done. It is errThere
// where this one has posted it.
func (p *poster) resume(ctx context.Context, n note, counted *record.EventCorrelateResult) (*corev1.Event, error) {
	event := counted.Event
	there, err := p.find(ctx, event.Namespace, event.Name)
	switch {
	case err != nil && Gone(err): // its time was over in between
		return p.create(ctx, event)
	case err != nil:
		return nil, err
	case there.Count == event.Count && there.LastTimestamp.Unix() == event.LastTimestamp.Unix():
		return nil, errThere
	}
	event.FirstTimestamp, event.Count = there.FirstTimestamp, there.Count
	if n.toldBy(there) {
		p.correlator.UpdateState(event)
		return nil, errTold
	}
	event.Count++
	p.correlator.UpdateState(event)
	counted.Patch, err = json.Marshal(map[string]any{"count": event.Count, "lastTimestamp": event.LastTimestamp})
	if err != nil {
		return nil, fmt.Errorf("count an event up: %w", err)
	}
	return p.send(ctx, counted)
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
