// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/rds-csi/rds-csi/csi"
)

// commonFlags are those of the controller and of the node plugin.
type commonFlags struct {
	endpoint   string
	driverName string
	kubernetes bool
	kubeconfig string
	cluster    string
	http       string
	otlp       string
	logLevel   string
	logFormat  string
}

func (f *commonFlags) register(fs *flag.FlagSet, httpAddress string) {
	fs.StringVar(&f.endpoint, "endpoint", "unix:///csi/csi.sock", "`socket` of the CSI services")
	fs.StringVar(&f.driverName, "driver-name", csi.DefaultDriverName, "`name` in CSIDriver, StorageClasses and volumes")
	fs.BoolVar(&f.kubernetes, "kubernetes", true, "ask the API server; false: the ledger alone is the state")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "`file` with credentials for the API server; empty: in-cluster")
	fs.StringVar(&f.cluster, "cluster-id", "", "12 lower-case hex `digits` that mark this cluster's volumes on the box; empty: from kube-system's UID")
	fs.StringVar(&f.http, "http-address", httpAddress, "`address` of /metrics, /healthz and /readyz")
	fs.StringVar(&f.otlp, "otlp", "", "`host:port` of an OTLP/gRPC collector for traces; empty: none")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
}

// logger returns the process's logger.
func (f *commonFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q is not one of debug, info, warn, error", f.logLevel)}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %q is not one of text, json", f.logFormat)}
}

// parse reads the command line into fs. What is left over is a mistake.
func parse(fs *flag.FlagSet, args []string, output io.Writer) error {
	fs.SetOutput(output)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{errors.New("see --help")} // fs has said what is wrong
	}
	if fs.NArg() > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	return nil
}

// readSecret reads a password file; one newline at its end is not part of the password. The error
// never holds what was read.
func readSecret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read --rds-password-file: %w", err)
	}
	const most = 4096
	if len(b) > most {
		return "", usageError{fmt.Errorf("--rds-password-file %s is longer than %d bytes", path, most)}
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
