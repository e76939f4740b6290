// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// A curve is the distribution of one phase's latencies.
type curve struct {
	phase, driver string
	sorted        []time.Duration
}

// Measures of the plot in SVG's units, and how many points a curve has at most.
const (
	plotWidth, plotHeight = 760, 420
	left, right           = 60, 180
	top, bottom           = 40, 50
	curvePoints           = 200
)

var colours = []string{"#1b6ca8", "#c8553d", "#3a7d44", "#8e5aa8", "#b8860b", "#4f4f4f"}

// WritePlot draws as SVG, for the named phases, what share of the calls was answered within what
// time: each driver's curve, on a logarithmic scale that begins and ends at a power of ten. Curves
// of the baseline are dashed. A curve ends at the slowest call.
func (r Report) WritePlot(w io.Writer, baseline string, phases ...string) error {
	var shown []curve
	for _, c := range r.curves {
		if slices.Contains(phases, c.phase) && len(c.sorted) > 0 {
			shown = append(shown, c)
		}
	}
	a := newAxis(shown)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">Share of calls answered within a time: %d volumes, %d workers, box %s ms a command</text>`+"\n",
		left, r.Settings.Volumes, r.Settings.Workers, number(r.Settings.ServiceTime))
	a.draw(&b)
	for i, c := range shown {
		colour := colours[max(slices.Index(phases, c.phase), 0)%len(colours)]
		dash := ""
		if c.driver == baseline {
			dash = ` stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5"%s points="%s"/>`+"\n", colour, dash, a.points(c.sorted))
		y := top + 14 + 20*i
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%[3]d" stroke="%s" stroke-width="1.5"%s/>`+"\n", plotWidth-right+12, plotWidth-right+36, y-4, colour, dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s, %s</text>`+"\n", plotWidth-right+42, y, html.EscapeString(c.phase), html.EscapeString(c.driver))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// An axis is the logarithmic scale of time, in powers of ten of a millisecond.
type axis struct{ low, high int }

func newAxis(curves []curve) axis {
	a := axis{low: math.MaxInt, high: math.MinInt}
	for _, c := range curves {
		a.low = min(a.low, int(math.Floor(logMS(c.sorted[0]))))
		a.high = max(a.high, int(math.Ceil(logMS(c.sorted[len(c.sorted)-1]))))
	}
	if a.low >= a.high {
		a.low, a.high = min(a.low, 0), max(a.low+1, 1)
	}
	return a
}

// logMS is the decimal logarithm of a time in milliseconds, of a microsecond at least.
func logMS(d time.Duration) float64 { return math.Log10(ms(max(d, time.Microsecond))) }

func (a axis) x(log float64) float64 {
	return left + (log-float64(a.low))/float64(a.high-a.low)*(plotWidth-left-right)
}

func height(share float64) float64 {
	return plotHeight - bottom - share*(plotHeight-top-bottom)
}

func (a axis) draw(b *strings.Builder) {
	for p := a.low; p <= a.high; p++ {
		x := a.x(float64(p))
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>`+"\n", x, x, top, plotHeight-bottom)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%g ms</text>`+"\n", x, plotHeight-bottom+18, math.Pow10(p))
	}
	for _, share := range []float64{0, 0.5, 0.9, 1} {
		y := height(share)
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", left, plotWidth-right, y, y)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%g %%</text>`+"\n", left-6, y+4, 100*share)
	}
}

// points walks up a distribution. The last point is the slowest call.
func (a axis) points(sorted []time.Duration) string {
	n := len(sorted)
	out := make([]string, 0, curvePoints+1)
	for i := range min(curvePoints, n) {
		at := i * n / min(curvePoints, n)
		out = append(out, fmt.Sprintf("%.1f,%.1f", a.x(logMS(sorted[at])), height(float64(at+1)/float64(n))))
	}
	out = append(out, fmt.Sprintf("%.1f,%.1f", a.x(logMS(sorted[n-1])), height(1)))
	return strings.Join(out, " ")
}
