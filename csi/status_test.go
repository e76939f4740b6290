// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/csi"
)

// kinds is every kind of error of the domain, with its code.
var kinds = map[string]struct {
	kind error
	code codes.Code
}{
	"ErrInvalid":      {actors.ErrInvalid, codes.InvalidArgument},
	"ErrNotFound":     {actors.ErrNotFound, codes.NotFound},
	"ErrExists":       {actors.ErrExists, codes.AlreadyExists},
	"ErrPrecondition": {actors.ErrPrecondition, codes.FailedPrecondition},
	"ErrOutOfRange":   {actors.ErrOutOfRange, codes.OutOfRange},
	"ErrFull":         {actors.ErrFull, codes.ResourceExhausted},
	"ErrBusy":         {actors.ErrBusy, codes.Aborted},
	"ErrUnavailable":  {actors.ErrUnavailable, codes.Unavailable},
	"ErrUnresolved":   {actors.ErrUnresolved, codes.Unavailable},
}

func TestStatusOfEveryKind(t *testing.T) {
	for name, k := range kinds {
		err := csi.Status(fmt.Errorf("set disk: %w", fmt.Errorf("send: %w", k.kind)))
		if got := status.Code(err); got != k.code {
			t.Errorf("%s is %v, want %v", name, got, k.code)
		}
		if m := status.Convert(err).Message(); m != "set disk: send: "+k.kind.Error() {
			t.Errorf("%s says %q", name, m)
		}
	}
	for err, code := range map[error]codes.Code{
		fmt.Errorf("wait: %w", context.DeadlineExceeded): codes.DeadlineExceeded,
		fmt.Errorf("wait: %w", context.Canceled):         codes.Canceled,
		errors.New("of no kind"):                         codes.Internal,
		status.Error(codes.DataLoss, "as it is"):         codes.DataLoss,
		// The outcome is what counts, not what ended the wait.
		fmt.Errorf("send: %w: %w", context.DeadlineExceeded, actors.ErrUnresolved): codes.Unavailable,
		fmt.Errorf("send: %w: %w", actors.ErrInvalid, actors.ErrUnresolved):        codes.Unavailable,
	} {
		if got := status.Code(csi.Status(err)); got != code {
			t.Errorf("%v is %v, want %v", err, got, code)
		}
	}
	if csi.Status(nil) != nil {
		t.Error("no error has a status")
	}
}

// TestStatusKnowsEveryKind fails when a kind is added to the domain and not to the table above.
func TestStatusKnowsEveryKind(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../actors/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, name := range spec.Names {
			if !strings.HasPrefix(name.Name, "Err") {
				continue
			}
			found++
			if _, ok := kinds[name.Name]; !ok {
				t.Errorf("actors.%s has no status code in this test", name.Name)
			}
		}
		return true
	})
	if found != len(kinds) {
		t.Errorf("found %d kinds in the domain, know %d", found, len(kinds))
	}
}
