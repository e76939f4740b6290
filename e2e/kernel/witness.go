// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rds-csi/rds-csi/e2e/guest"
	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// A Witness hears what a node's kernel and its node plugin say from a moment on, about the volumes that the node was
// connected to then.
type Witness struct {
	node        *guest.Node
	kernel      map[string]bool   // lines of before
	plugin      int               // bytes of before
	controllers map[string]string // their NQNs, by name
}

// Listen returns a witness on a node from now on.
func Listen(ctx context.Context, n *guest.Node) (*Witness, error) {
	w := &Witness{node: n, kernel: map[string]bool{}}
	lines, err := kernelLog(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		w.kernel[line] = true
	}
	log, err := read(ctx, n, api.Log(guest.Plugin))
	if err != nil {
		return nil, err
	}
	w.plugin = len(log)
	w.controllers, err = Controllers(ctx, n, "subsysnqn")
	return w, err
}

// Kernel tells in words what the kernel has done since with the connection to a volume.
func (w *Witness) Kernel(ctx context.Context, v *Volume) (string, error) {
	lines, err := w.heard(ctx, v)
	return did(lines), err
}

// Failed tells how many attempts of the kernel to reconnect to a volume have failed since.
func (w *Witness) Failed(ctx context.Context, v *Volume) (int, error) {
	lines, err := w.heard(ctx, v)
	return failed(lines), err
}

// heard returns what the kernel has said since of its controller of a volume.
func (w *Witness) heard(ctx context.Context, v *Volume) ([]string, error) {
	name := ""
	for c, nqn := range w.controllers {
		if strings.Contains(nqn, string(v.ID)) {
			name = c
		}
	}
	if name == "" {
		return nil, fmt.Errorf("%s was not connected to %s", w.node.Name(), v.ID)
	}
	lines, err := kernelLog(ctx, w.node)
	if err != nil {
		return nil, err
	}
	return ofController(slices.DeleteFunc(lines, func(line string) bool { return w.kernel[line] }), name), nil
}

// Conditions tells in which conditions the driver has found a volume since: none where it was well at every look.
func (w *Witness) Conditions(ctx context.Context, v *Volume) ([]string, error) {
	log, err := read(ctx, w.node, api.Log(guest.Plugin))
	if err != nil {
		return nil, err
	}
	return said(log[min(w.plugin, len(log)):], changed, v), nil
}

// Events tells under which reasons the driver has told people of a volume since.
func (w *Witness) Events(ctx context.Context, v *Volume) ([]string, error) {
	log, err := read(ctx, w.node, api.Log(guest.Plugin))
	if err != nil {
		return nil, err
	}
	return said(log[min(w.plugin, len(log)):], reported, v), nil
}

func read(ctx context.Context, n *guest.Node, path string) (string, error) {
	var c api.Content
	err := n.Call(ctx, api.Read, api.Path{Path: path}, &c)
	return string(c.Data), err
}

func kernelLog(ctx context.Context, n *guest.Node) ([]string, error) {
	var c api.Content
	if err := n.Call(ctx, api.KernelLog, struct{}{}, &c); err != nil {
		return nil, err
	}
	return slices.Collect(strings.SplitSeq(string(c.Data), "\n")), nil
}

// ofController returns what lines of a kernel's log say of a controller.
func ofController(lines []string, controller string) []string {
	var said []string
	for _, line := range lines {
		if _, text, ok := strings.Cut(line, "nvme "+controller+": "); ok {
			said = append(said, text)
		}
	}
	return said
}

// reconnected is how the kernel says that it has its connection back (Linux, drivers/nvme/host/tcp.c).
var reconnected = regexp.MustCompile(`Successfully reconnected \((?:attempt )?(\d+)`)

// did tells in words what the kernel did with a controller, by what it said of it.
func did(said []string) string {
	var words []string
	anew := false
	for _, text := range said {
		switch m := reconnected.FindStringSubmatch(text); {
		case m != nil:
			words = append(words, "reconnected at attempt "+m[1])
		case strings.HasPrefix(text, "Removing controller"):
			words = append(words, "gave the controller up")
		case strings.HasPrefix(text, "creating "): // its queues, with a reconnect and without
			anew = true
		}
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", ")
	case anew:
		return "reset its connection"
	}
	return "kept its connection"
}

// failed counts the attempts to reconnect that failed.
func failed(said []string) int {
	n := 0
	for _, text := range said {
		if strings.HasPrefix(text, "Failed reconnect attempt") {
			n++
		}
	}
	return n
}

// How the node plugin says that a volume's condition is another, and that it has told people of one.
var (
	changed  = regexp.MustCompile(`volume-id=(?P<volume>\S+) condition=(?P<said>\S+)`)
	reported = regexp.MustCompile(`msg="trouble with a volume" reason=(?P<said>\S+) volume-id=(?P<volume>\S+)`)
)

// said returns what the lines of a log that have a form say of a volume.
func said(log string, form *regexp.Regexp, v *Volume) []string {
	var found []string
	for line := range strings.Lines(log) {
		if m := form.FindStringSubmatch(line); m != nil && m[form.SubexpIndex("volume")] == string(v.ID) {
			found = append(found, m[form.SubexpIndex("said")])
		}
	}
	return found
}

// Sample returns the value of a sample of metrics as Prometheus reads them, by its name and labels; 0: there is none.
func Sample(metrics, name string) float64 {
	for line := range strings.Lines(metrics) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			if value, err := strconv.ParseFloat(text, 64); err == nil {
				return value
			}
		}
	}
	return 0
}
