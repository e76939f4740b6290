// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
)

// A Row is a line of the data path's page: what one event was to those who use one volume.
type Row struct {
	Table  string `json:"table"`  // of the page's template
	Event  string `json:"event"`  // what happened
	Volume string `json:"volume"` // what kind, and where that matters whose: see Spec.Kind
	Linux  string `json:"linux"`  // one of guest.Kernels; Add knows it

	Writes  *api.Written `json:"writes,omitempty"`  // what the writer saw; nil: nobody wrote
	Figures []Figure     `json:"figures,omitempty"` // what else was measured
	Kernel  string       `json:"kernel,omitempty"`  // what the kernel did
	Driver  string       `json:"driver,omitempty"`  // what the driver did, and what an operator sees of it
}

// A Figure is one that a table has a column for.
type Figure struct {
	Name  string `json:"name"` // the column's head
	Value string `json:"value"`
}

// Told is what a run has told: the rows are in the order of the stories, kernel by kernel.
type Told struct {
	Releases map[string]string `json:"releases"` // as of uname -r, by the kernel's name in guest.Kernels
	Rows     []Row             `json:"rows"`
}

// A Report gathers what the stories of one run tell. Its methods may be called from many goroutines.
type Report struct {
	kernels []string // in the order of the page

	mu       sync.Mutex
	releases map[string]string
	rows     map[string][]Row // by kernel
	told     map[string]bool  // kernels of which every story was told
}

// NewReport returns a report about kernels in which nothing was told.
func NewReport(kernels []string) *Report {
	return &Report{kernels: kernels, releases: map[string]string{}, rows: map[string][]Row{}, told: map[string]bool{}}
}

// Add adds a row of a story on a kernel.
func (r *Report) Add(kernel string, row Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row.Linux = kernel
	r.rows[kernel] = append(r.rows[kernel], row)
}

// Close says that every story was told on a kernel, whose release is as of uname -r.
func (r *Report) Close(kernel, release string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releases[kernel], r.told[kernel] = release, true
}

// errUntold says that a report is not whole, since not every story was told.
var errUntold = errors.New("not every story was told on every kernel")

// Told returns what was told, once that is every story on every kernel. All kernels must tell of the same events and
// volumes.
func (r *Report) Told() (Told, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := Told{Releases: map[string]string{}}
	for _, k := range r.kernels {
		if !r.told[k] {
			return Told{}, fmt.Errorf("%w: Linux %s", errUntold, k)
		}
		told.Releases[k] = r.releases[k]
		told.Rows = append(told.Rows, r.rows[k]...)
		for _, row := range r.rows[k] {
			for _, other := range r.kernels {
				if !slices.ContainsFunc(r.rows[other], row.same) {
					return Told{}, fmt.Errorf("%s tells of %q to %s, and %s does not", k, row.Event, row.Volume, other)
				}
			}
		}
	}
	return told, nil
}

// same tells whether two rows are about the same, be it on two kernels.
func (r Row) same(other Row) bool {
	return r.Table == other.Table && r.Event == other.Event && r.Volume == other.Volume
}

// Save writes what was told to a file, for LoadTold. Where stories were left out it writes nothing, which is no error.
func (r *Report) Save(path string) error {
	told, err := r.Told()
	if errors.Is(err, errUntold) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := told.Page(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(told, "", "\t")
	if err != nil {
		return fmt.Errorf("save the report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as any directory of a clone
		return fmt.Errorf("save the report: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // as any file of a clone
}

// LoadTold reads what Save wrote.
func LoadTold(path string) (told Told, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return told, err
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return told, fmt.Errorf("read the report %s: %w", path, err)
	}
	return told, nil
}
