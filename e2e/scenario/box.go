// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/rds-csi/rds-csi/actors"
)

func boxCommand(ctx context.Context, w *world, args []string) error {
	if len(args) == 0 {
		return errors.New("what about the box?")
	}
	switch args[0] {
	case "off":
		return w.box.Stop()
	case "on":
		return w.box.Start(ctx)
	case "freeze", "thaw":
		return w.box.Do(ctx, args[0], "")
	case "mend":
		return w.box.Mend(ctx)
	case "do":
		if len(args) < 2 {
			return errors.New("what is to happen?")
		}
		return w.box.Do(ctx, args[1], strings.Join(args[2:], " "))
	case "disks":
		return boxDisks(ctx, w, args[1:])
	case "met":
		return boxMet(ctx, w, args[1:])
	case "note", "unchanged":
		return boxWrites(ctx, w, args[0] == "note")
	}
	return boxRow(ctx, w, args)
}

// boxDisks counts the box's rows, all of them and those that are exported.
func boxDisks(ctx context.Context, w *world, args []string) error {
	if len(args) != 3 || args[1] != "exported" {
		return errors.New("how many disks, exported how many?")
	}
	return eventually(ctx, func(ctx context.Context) error {
		disks, err := w.box.Disks(ctx)
		if err != nil {
			return err
		}
		exported := 0
		for _, d := range disks {
			if d.Export {
				exported++
			}
		}
		if strconv.Itoa(len(disks)) != args[0] || strconv.Itoa(exported) != args[2] {
			return fmt.Errorf("the box has %d disks and exports %d", len(disks), exported)
		}
		return nil
	})
}

// boxRow compares what the box has of a claim's volume.
func boxRow(ctx context.Context, w *world, args []string) error {
	ws, err := parse(args, 1, "granted", "export", "size", "allow")
	if err != nil {
		return err
	}
	id, err := w.volumeOf(ctx, ws.plain[0])
	if err != nil {
		return err
	}
	return eventually(ctx, func(ctx context.Context) error {
		d, l, err := w.box.Disk(ctx, id)
		if err != nil {
			return err
		}
		var granted []string
		for _, g := range l.Grants {
			granted = append(granted, string(g.Node))
		}
		for key, got := range map[string]string{
			"granted": strings.Join(granted, ","), "export": strconv.FormatBool(d.Export),
			"size": strconv.FormatInt(d.Size, 10), "allow": d.AllowHost,
		} {
			want, given := ws.keyed[key]
			if want, err = w.asOnBox(key, want); err != nil {
				return err
			}
			if given && got != want {
				return fmt.Errorf("the box has %s=%s for claim %s", key, got, ws.plain[0])
			}
		}
		return nil
	})
}

// asOnBox turns a script's word into the box's.
func (w *world) asOnBox(key, word string) (string, error) {
	switch {
	case word == "":
	case key == "size":
		size, err := resource.ParseQuantity(word)
		if err != nil {
			return "", fmt.Errorf("read the size: %w", err)
		}
		return strconv.FormatInt(size.Value(), 10), nil
	case key == "allow":
		return actors.HostOf(w.cluster, actors.NodeID(word)).NQN, nil
	}
	return word, nil
}

// boxMet waits until so many commands have met the faults in force.
func boxMet(ctx context.Context, w *world, args []string) error {
	return eventually(ctx, func(ctx context.Context) error {
		hits, err := w.box.Hits(ctx)
		if err == nil && strconv.Itoa(hits) != strings.Join(args, " ") {
			err = fmt.Errorf("%d commands have met a fault", hits)
		}
		return err
	})
}

// boxWrites counts the commands that change something, and compares with what was noted.
func boxWrites(ctx context.Context, w *world, note bool) error {
	commands, err := w.box.Commands(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(commands, func(name string, _ int) bool {
		return !slices.Contains([]string{"/disk/add", "/disk/set", "/disk/remove", "/file/add", "/file/remove"}, name)
	})
	switch {
	case note:
		w.noted = commands
	case !maps.Equal(commands, w.noted):
		return fmt.Errorf("the box got %v, and had %v when that was noted", commands, w.noted)
	}
	return nil
}
