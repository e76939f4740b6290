// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"path"
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
	controllers map[string]string // their names, by NQN
}

// Listen returns a witness on a node from now on.
func Listen(ctx context.Context, n *guest.Node) (*Witness, error) {
	w := &Witness{node: n, kernel: map[string]bool{}, controllers: map[string]string{}}
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
	names, err := Controllers(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		nqn, err := read(ctx, n, path.Join(controllers, name, "subsysnqn"))
		if err != nil {
			return nil, err
		}
		w.controllers[strings.TrimSpace(nqn)] = name
	}
	return w, nil
}

// Kernel tells in words what the kernel has done since with the connection to a volume.
func (w *Witness) Kernel(ctx context.Context, v *Volume) (string, error) {
	name := ""
	for nqn, c := range w.controllers {
		if strings.Contains(nqn, string(v.ID)) {
			name = c
		}
	}
	if name == "" {
		return "", fmt.Errorf("%s was not connected to %s", w.node.Name(), v.ID)
	}
	lines, err := kernelLog(ctx, w.node)
	if err != nil {
		return "", err
	}
	return did(slices.DeleteFunc(lines, func(line string) bool { return w.kernel[line] }), name), nil
}

// Conditions tells in which conditions the driver has found a volume since: none where it was well at every look.
func (w *Witness) Conditions(ctx context.Context, v *Volume) ([]string, error) {
	log, err := read(ctx, w.node, api.Log(guest.Plugin))
	if err != nil {
		return nil, err
	}
	return conditions(log[min(w.plugin, len(log)):], string(v.ID)), nil
}

// controllers is where the kernel shows its NVMe controllers.
const controllers = "/sys/class/nvme"

// Controllers returns the names of a node's NVMe controllers.
func Controllers(ctx context.Context, n *guest.Node) ([]string, error) {
	var names api.Names
	return names.Names, n.Call(ctx, api.List, api.Path{Path: controllers}, &names)
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

// reconnected is how the kernel says that it has its connection back (Linux, drivers/nvme/host/tcp.c).
var reconnected = regexp.MustCompile(`Successfully reconnected \((?:attempt )?(\d+)`)

// did tells in words what the lines of a kernel's log say that it did with a controller.
func did(lines []string, controller string) string {
	var words []string
	for _, line := range lines {
		_, said, ok := strings.Cut(line, "nvme "+controller+": ")
		switch m := reconnected.FindStringSubmatch(said); {
		case !ok:
		case m != nil:
			words = append(words, "reconnected at attempt "+m[1])
		case strings.HasPrefix(said, "Removing controller"):
			words = append(words, "gave the controller up")
		}
	}
	if len(words) == 0 {
		return "kept its connection"
	}
	return strings.Join(words, ", ")
}

// changed is how the node plugin says that a volume's condition is another: the last of its attributes but the
// message.
var changed = regexp.MustCompile(`volume-id=(\S+) condition=(\S+)`)

// conditions returns the conditions in which a log says that a volume came.
func conditions(log, volume string) []string {
	var found []string
	for line := range strings.Lines(log) {
		if m := changed.FindStringSubmatch(line); m != nil && m[1] == volume {
			found = append(found, m[2])
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
