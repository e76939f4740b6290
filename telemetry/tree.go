// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// DefaultSpans is how many spans a Recorder keeps unless told otherwise.
const DefaultSpans = 4096

// A Recorder keeps the spans that ended last, so that a trace can be looked at without a collector. It
// goes into Config.Processors.
type Recorder struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan // a ring once it is full
	next  int                     // of the ring
}

var _ sdktrace.SpanProcessor = (*Recorder)(nil)

// NewRecorder returns a Recorder of at most so many spans. 0 and less keep DefaultSpans.
func NewRecorder(most int) *Recorder {
	if most <= 0 {
		most = DefaultSpans
	}
	return &Recorder{spans: make([]sdktrace.ReadOnlySpan, 0, most)}
}

// OnStart implements sdktrace.SpanProcessor.
func (*Recorder) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor: it keeps the span in the place of the oldest.
func (r *Recorder) OnEnd(span sdktrace.ReadOnlySpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spans) < cap(r.spans) {
		r.spans = append(r.spans, span)
		return
	}
	r.spans[r.next] = span
	r.next = (r.next + 1) % len(r.spans)
}

// Shutdown implements sdktrace.SpanProcessor. What was recorded stays.
func (*Recorder) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (*Recorder) ForceFlush(context.Context) error { return nil }

// A Tree is a trace as far as it was recorded.
type Tree struct {
	TraceID trace.TraceID
	Start   time.Time
	End     time.Time
	Spans   int
	Roots   []*Span // by start: those without a parent, and orphans
}

// A Span is one node of a Tree.
type Span struct {
	Name       string
	Context    trace.SpanContext
	Parent     trace.SpanContext // not valid for a root
	Orphan     bool              // has a parent, which was not recorded
	Start, End time.Time
	Attributes []attribute.KeyValue
	Links      []Link
	Failed     bool
	Error      string  // why it failed, where that was said
	Children   []*Span // by start
}

// A Link points from a span to another that it is not part of: a retry to the operation that it joined.
type Link struct {
	To     trace.SpanContext
	Target *Span // nil where it was not recorded
}

// spanKey identifies a span.
type spanKey struct {
	trace trace.TraceID
	span  trace.SpanID
}

func keyOf(c trace.SpanContext) spanKey { return spanKey{c.TraceID(), c.SpanID()} }

// Trees returns the recorded traces by their start.
func (r *Recorder) Trees() []*Tree {
	r.mu.Lock()
	ended := slices.Clone(r.spans)
	r.mu.Unlock()

	spans := make([]*Span, len(ended))
	known := make(map[spanKey]*Span, len(ended))
	for i, span := range ended {
		spans[i] = newSpan(span)
		known[keyOf(spans[i].Context)] = spans[i]
	}
	slices.SortFunc(spans, func(a, b *Span) int {
		left, right := a.Context.SpanID(), b.Context.SpanID()
		return cmp.Or(a.Start.Compare(b.Start), bytes.Compare(left[:], right[:]))
	})
	return grow(spans, known)
}

func newSpan(s sdktrace.ReadOnlySpan) *Span {
	span := &Span{
		Name:       s.Name(),
		Context:    s.SpanContext(),
		Parent:     s.Parent(),
		Start:      s.StartTime(),
		End:        s.EndTime(),
		Attributes: s.Attributes(),
		Failed:     s.Status().Code == codes.Error,
		Error:      s.Status().Description,
	}
	for _, link := range s.Links() {
		span.Links = append(span.Links, Link{To: link.SpanContext})
	}
	return span
}

// grow joins spans, which come by their start, into trees.
func grow(spans []*Span, known map[spanKey]*Span) []*Tree {
	var trees []*Tree
	byID := make(map[trace.TraceID]*Tree)
	for _, span := range spans {
		id := span.Context.TraceID()
		tree := byID[id]
		if tree == nil {
			tree = &Tree{TraceID: id, Start: span.Start, End: span.End}
			byID[id] = tree
			trees = append(trees, tree)
		}
		tree.Spans++
		if span.End.After(tree.End) {
			tree.End = span.End
		}
		for i := range span.Links {
			span.Links[i].Target = known[keyOf(span.Links[i].To)]
		}
		parent := known[keyOf(span.Parent)]
		if span.Parent.SpanID().IsValid() && parent != nil {
			parent.Children = append(parent.Children, span)
			continue
		}
		span.Orphan = span.Parent.SpanID().IsValid()
		tree.Roots = append(tree.Roots, span)
	}
	return trees
}
