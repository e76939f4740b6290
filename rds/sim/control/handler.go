// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/rds-csi/rds-csi/rds/sim"
)

// maxBody is the largest request, in bytes.
const maxBody = 64 << 10

// A Status is the answer to GET /status.
type Status struct {
	API              string `json:"api"`
	TLS              string `json:"api-tls"`
	SSH              string `json:"ssh"`
	Disks            int    `json:"disks"`
	Free             int64  `json:"free"` // bytes
	Sessions         int    `json:"sessions"`
	Frozen           bool   `json:"frozen"`            // the API and SSH
	JournalForgotten int64  `json:"journal-forgotten"` // entries
}

// failure is an error with its status.
type failure struct {
	status int
	error
}

// New returns the handler of a box.
func New(s *sim.Sim) http.Handler {
	h := &handler{s}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*http.Request) (any, error){
		"GET /status":         func(*http.Request) (any, error) { return h.status(), nil },
		"GET /disks":          func(*http.Request) (any, error) { return s.Disks(), nil },
		"GET /files":          func(*http.Request) (any, error) { return s.Files(), nil },
		"GET /journal":        func(*http.Request) (any, error) { return s.Journal(), nil },
		"GET /commands":       func(*http.Request) (any, error) { return s.Commands(), nil },
		"GET /faults":         h.faults,
		"POST /faults":        h.inject,
		"DELETE /faults":      h.clearAll,
		"DELETE /faults/{id}": h.clear,
		"POST /drop":          h.drop,
		"POST /freeze":        h.freeze,
		"POST /thaw":          h.thaw,
		"POST /fill":          h.fill,
		"POST /resize":        h.resize,
		"GET /settings":       func(*http.Request) (any, error) { return s.Settings(), nil },
		"POST /settings":      h.change,
		"POST /reboot":        h.reboot,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { answer(w, r, serve) })
	}
	return mux
}

type handler struct{ box *sim.Sim }

// answer writes what serve returns.
func answer(w http.ResponseWriter, r *http.Request, serve func(*http.Request) (any, error)) {
	v, err := serve(r)
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		var f failure
		if errors.As(err, &f) {
			status = f.status
		}
		v = map[string]string{"error": err.Error()}
	}
	if v == nil {
		v = struct{}{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may have gone
}

// read decodes a request, which may be empty. A page in a browser cannot send one without asking: it
// must be said to be JSON.
func read(r *http.Request, v any) error {
	if r.Header.Get("Content-Type") != "application/json" {
		return failure{http.StatusUnsupportedMediaType, errors.New("header Content-Type: application/json is missing")}
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return failure{http.StatusBadRequest, fmt.Errorf("read the request: %w", err)}
	}
	return nil
}

func (h *handler) status() Status {
	return Status{
		API: h.box.APIAddr(), TLS: h.box.TLSAddr(), SSH: h.box.SSHAddr(), Disks: len(h.box.Disks()), Free: h.box.Free(),
		Sessions: h.box.Sessions(), Frozen: h.box.Frozen(), JournalForgotten: h.box.JournalForgotten(),
	}
}

func (h *handler) faults(*http.Request) (any, error) {
	list := []Fault{}
	for _, in := range h.box.Faults() {
		list = append(list, tell(in))
	}
	return list, nil
}

func (h *handler) inject(r *http.Request) (any, error) {
	var f Fault
	if err := read(r, &f); err != nil {
		return nil, err
	}
	rule, err := f.rule()
	if err == nil {
		f.ID, err = h.box.Inject(rule)
	}
	if err != nil {
		return nil, failure{http.StatusBadRequest, err}
	}
	f.Hits = 0
	return f, nil
}

func (h *handler) clearAll(*http.Request) (any, error) {
	h.box.ClearFaults()
	return nil, nil
}

func (h *handler) clear(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !h.box.ClearFault(id) {
		return nil, failure{http.StatusNotFound, fmt.Errorf("no fault has the number %.32q", r.PathValue("id"))}
	}
	return nil, nil
}

func (h *handler) drop(r *http.Request) (any, error) {
	var what struct {
		NQN  string `json:"nqn"`
		Host string `json:"host"`
	}
	if err := read(r, &what); err != nil {
		return nil, err
	}
	if what.NQN == "" && what.Host != "" {
		return nil, failure{http.StatusBadRequest, errors.New("host is dropped from a subsystem: give its nqn")}
	}
	if what.NQN == "" {
		h.box.DropConnections()
	} else {
		h.box.DropHosts(what.NQN, what.Host)
	}
	return nil, nil
}

// parts are what freezes.
type parts struct {
	Sessions bool `json:"sessions"`
	NVMe     bool `json:"nvme"`
}

// parts reads what is to freeze or thaw.
func (h *handler) parts(r *http.Request) (parts, error) {
	var p parts
	err := read(r, &p)
	if p == (parts{}) {
		p = parts{true, true}
	}
	return p, err
}

func (h *handler) freeze(r *http.Request) (any, error) {
	return nil, h.each(r, h.box.FreezeSessions, h.box.FreezeNVMe)
}

func (h *handler) thaw(r *http.Request) (any, error) {
	return nil, h.each(r, h.box.ThawSessions, h.box.ThawNVMe)
}

func (h *handler) each(r *http.Request, sessions, nvme func()) error {
	p, err := h.parts(r)
	if err != nil {
		return err
	}
	if p.Sessions {
		sessions()
	}
	if p.NVMe {
		nvme()
	}
	return nil
}

func (h *handler) fill(r *http.Request) (any, error) {
	var what struct {
		Free *int64 `json:"free"`
	}
	if err := read(r, &what); err != nil {
		return nil, err
	}
	if what.Free == nil {
		return nil, failure{http.StatusBadRequest, errors.New("free is missing: how many bytes are to be left")}
	}
	return nil, h.box.Fill(r.Context(), *what.Free)
}

func (h *handler) resize(r *http.Request) (any, error) {
	var what struct {
		Disk string `json:"disk"`
		Size int64  `json:"size"`
	}
	if err := read(r, &what); err != nil {
		return nil, err
	}
	if err := h.box.Resize(r.Context(), what.Disk, what.Size); err != nil {
		return nil, failure{http.StatusBadRequest, err}
	}
	return nil, nil
}

// rebootTimeout bounds the start of a box that a caller has left.
const rebootTimeout = time.Minute

func (h *handler) reboot(r *http.Request) (any, error) {
	var what struct {
		Lose Duration `json:"lose"`
	}
	if err := read(r, &what); err != nil {
		return nil, err
	}
	// A box whose power went off must come back although the caller has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), rebootTimeout)
	defer cancel()
	return nil, h.box.RebootLosing(ctx, time.Duration(what.Lose))
}

// change changes settings, and tells what they are then.
func (h *handler) change(r *http.Request) (any, error) {
	var c sim.Change
	if err := read(r, &c); err != nil {
		return nil, err
	}
	if err := h.box.Change(r.Context(), c); err != nil {
		return nil, failure{http.StatusBadRequest, err}
	}
	return h.box.Settings(), nil
}
