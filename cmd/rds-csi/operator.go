// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/k8s"
	"github.com/rds-csi/rds-csi/rds"
)

// operatorFlags are those of the commands for people: the controller's, of which most do nothing here, so
// that what starts the controller may be repeated as it is.
type operatorFlags struct {
	controllerFlags
	yes   bool
	force bool
	json  bool
}

// A person is at the other end of a command, in an environment that tests replace.
type person struct {
	stdin    io.Reader
	terminal bool // somebody is at stdin, who may be asked
	stdout   io.Writer
	stderr   io.Writer
	// client returns a client of the API server.
	client func(f *commonFlags) (kubernetes.Interface, error)
	// hostname is the pod's, by which a leader's identity begins.
	hostname func() (string, error)
	// cmdline is the file with the command line of a container's first process.
	cmdline string
	hooks   rds.Hooks
}

// atTerminal is the person who started this process.
func atTerminal(stdout, stderr io.Writer) *person {
	// client-go logs what a person has no use for: what failed is in the errors.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	info, err := os.Stdin.Stat()
	return &person{
		stdin: os.Stdin, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
		stdout: stdout, stderr: stderr, hostname: os.Hostname, cmdline: "/proc/1/cmdline",
		client: func(f *commonFlags) (kubernetes.Interface, error) {
			rest, err := k8s.RESTConfig(k8s.ClientConfig{Kubeconfig: f.kubeconfig, UserAgent: "rds-csi/" + version})
			if err != nil {
				return nil, err
			}
			return k8s.NewClient(rest)
		},
	}
}

func (p *person) say(format string, args ...any) {
	fmt.Fprintf(p.stdout, format+"\n", args...) //nolint:errcheck // there is nobody left to tell
}

// warn tells what is no result.
func (p *person) warn(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...) //nolint:errcheck // there is nobody left to tell
}

// agrees asks a person. Only a yes is one.
func (p *person) agrees(f *operatorFlags) error {
	if f.yes {
		return nil
	}
	if !p.terminal {
		return usageError{errors.New("nothing was done: say --yes, since nobody is at a terminal to be asked")}
	}
	fmt.Fprint(p.stderr, "Do it? [y/N] ") //nolint:errcheck // nobody then answers
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("nothing was done: read the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// parse reads a command line in which flags and arguments are mixed. Where no box is named, it is that of
// the controller in this container.
func (p *person) parse(f *operatorFlags, fs *flag.FlagSet, args []string) (rest []string, err error) {
	fs.SetOutput(p.stderr)
	if !namesBox(args) {
		if own := controllerArgs(p.cmdline); own != nil {
			if err := fs.Parse(own); err != nil {
				return nil, usageError{errors.New("the controller in this container was started with flags that this release does not have")}
			}
		}
	}
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{errors.New("see --help")} // fs has said what is wrong
		}
		if fs.NArg() == 0 {
			return rest, f.check()
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

func (f *operatorFlags) check() error {
	if f.commandTimeout < time.Second || f.commandTimeout > time.Minute {
		return usageError{fmt.Errorf("--command-timeout %v is not between 1s and 1m", f.commandTimeout)}
	}
	if !f.kubernetes {
		return f.namedCluster()
	}
	return nil
}

func namesBox(args []string) bool {
	for _, a := range args {
		if name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "="); name == "rds-address" && strings.HasPrefix(a, "-") {
			return true
		}
	}
	return false
}

// controllerArgs returns the flags of the controller whose container this is, and nil elsewhere: its image
// has no shell in which they could be looked up.
func controllerArgs(cmdline string) []string {
	b, err := os.ReadFile(cmdline)
	if err != nil {
		return nil
	}
	var args []string
	for a := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{0}), []byte{0}) {
		args = append(args, string(a))
	}
	if len(args) < 2 || args[1] != "controller" {
		return nil
	}
	return args[2:]
}

// volumeAndNode checks the arguments of a command.
func volumeAndNode(args []string, node bool) (actors.VolumeID, actors.NodeID, error) {
	want := 1
	if node {
		want = 2
	}
	if len(args) != want {
		if node {
			return "", "", usageError{errors.New("name a volume and a node, as `rds-csi volumes` shows them")}
		}
		return "", "", usageError{errors.New("name a volume, as `rds-csi volumes` shows it")}
	}
	id := actors.VolumeID(args[0])
	if err := id.Check(); err != nil {
		return "", "", usageError{err}
	}
	if !node {
		return id, "", nil
	}
	n := actors.NodeID(args[1])
	if err := n.Check(); err != nil {
		return "", "", usageError{err}
	}
	return id, n, nil
}

// identify returns the API server's client and the cluster's identity. Without Kubernetes there is no client.
func (p *person) identify(ctx context.Context, f *operatorFlags) (kubernetes.Interface, string, error) {
	if !f.kubernetes {
		return nil, f.cluster, nil
	}
	client, err := p.client(&f.commonFlags)
	if err != nil {
		return nil, "", err
	}
	if f.cluster != "" {
		if err := actors.CheckCluster(f.cluster); err != nil {
			return nil, "", usageError{fmt.Errorf("--cluster-id: %w", err)}
		}
		return client, f.cluster, nil
	}
	cluster, err := k8s.ClusterID(ctx, client)
	return client, cluster, err
}

// settings returns how to speak to the box.
func (p *person) settings(f *operatorFlags, cluster string, may func() error) (rds.Config, error) {
	cfg, _, err := f.box(cluster)
	cfg.Hooks, cfg.MayChange = p.hooks, may
	return cfg, err
}
