// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package csi

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rds-csi/rds-csi/actors"
)

// kindCodes is the code of each kind of error. Of an error of several kinds the first counts, so
// those that say that the outcome is unknown stand before those that are final: the sidecars take
// Canceled, DeadlineExceeded, Unavailable, ResourceExhausted and Aborted for "may be in progress"
// and every other code for "surely not".
var kindCodes = []struct {
	kind error
	code codes.Code
}{
	{actors.ErrUnresolved, codes.Unavailable},
	{actors.ErrUnavailable, codes.Unavailable},
	{actors.ErrBusy, codes.Aborted},
	{actors.ErrInvalid, codes.InvalidArgument},
	{actors.ErrNotFound, codes.NotFound},
	{actors.ErrExists, codes.AlreadyExists},
	{actors.ErrPrecondition, codes.FailedPrecondition},
	{actors.ErrOutOfRange, codes.OutOfRange},
	{actors.ErrFull, codes.ResourceExhausted},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// Status returns the gRPC status error that tells a CO about err (CSI spec, "Error Scheme"), nil for
// nil. An error that is a status already stays as it is. One of no known kind is Internal: it is a
// fault of this driver.
func Status(err error) error {
	if err == nil {
		return nil
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return err
	}
	for _, k := range kindCodes {
		if errors.Is(err, k.kind) {
			return status.Error(k.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// final reports whether the code that a CO gets for err tells it that nothing was done.
func final(err error) bool {
	switch status.Code(Status(err)) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return false
	}
	return true
}
