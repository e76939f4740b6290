// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rds-csi/rds-csi/nvme/tcp"
)

// A wire is a connection that has been initialised: digests and limits are agreed.
type wire struct {
	conn       net.Conn
	r          *tcp.Reader
	w          *tcp.Writer
	maxH2CData int
}

// maxTransfer is the most data of one command, whatever the target allows, in bytes.
const maxTransfer = 1 << 20

// dial connects and exchanges ICReq and ICResp (Transport 1.0, 3.1), within the timeout.
func dial(ctx context.Context, cfg Config) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.AdminTimeout)
	defer cancel()
	conn, err := cfg.Dial(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	// The exchange ends with the context: nothing but the connection's deadline interrupts it.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	w, err := initialise(conn, cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, fmt.Errorf("initialise connection: %w", err)
	}
	return w, nil
}

func initialise(conn net.Conn, cfg Config) (*wire, error) {
	w := &wire{
		conn: conn,
		r:    tcp.NewReader(conn, tcp.Limits{MaxData: maxTransfer}),
		w:    tcp.NewWriter(conn),
	}
	var digest tcp.Digest
	if cfg.HeaderDigest {
		digest |= tcp.HeaderDigest
	}
	if cfg.DataDigest {
		digest |= tcp.DataDigest
	}
	if err := w.w.WritePDU(tcp.ICReq{Digest: digest}, nil); err != nil {
		return nil, err
	}
	if err := w.w.Flush(); err != nil {
		return nil, err
	}
	pdu, err := w.r.ReadPDU()
	if err != nil {
		return nil, foul(err)
	}
	resp, ok := pdu.(tcp.ICResp)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %v in answer to ICReq", ErrProtocol, pdu.Type())
	case resp.PFV != 0:
		return nil, fmt.Errorf("%w: PDU format version %d, want 0", ErrProtocol, resp.PFV)
	case resp.Digest != digest:
		return nil, fmt.Errorf("%w: digests %#x, asked for %#x", ErrProtocol, uint8(resp.Digest), uint8(digest))
	case resp.CPDA > tcp.MaxAlign:
		return nil, fmt.Errorf("%w: CPDA %d, at most %d", ErrProtocol, resp.CPDA, tcp.MaxAlign)
	case resp.MaxH2CData < tcp.MinMaxH2CData || resp.MaxH2CData%4 != 0:
		return nil, fmt.Errorf("%w: MAXH2CDATA %d", ErrProtocol, resp.MaxH2CData)
	}
	w.r.Negotiated(digest)
	w.w.Negotiated(digest, resp.CPDA)
	w.maxH2CData = int(min(resp.MaxH2CData, maxTransfer))
	return w, nil
}

// foul wraps ErrProtocol around what the codec found wrong with the peer, and only that.
func foul(err error) error {
	var fault *tcp.ProtocolError
	if errors.As(err, &fault) {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return err
}
