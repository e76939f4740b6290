// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rds-csi/rds-csi/e2e/guest/api"
	"github.com/rds-csi/rds-csi/e2e/kernel"
)

var update = flag.Bool("update", false, "write the page anew")

// The page of the documentation is what the template makes of what was saved from a run.
func TestDataPath(t *testing.T) {
	told, err := kernel.LoadTold("data-path.json")
	must(t, err)
	want, err := told.Page()
	must(t, err)
	path := filepath.Join("..", "..", "docs", "reference", "data-path.md")
	if *update {
		must(t, os.WriteFile(path, want, 0o644)) //nolint:gosec // as any file of a clone
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != string(want) {
		t.Errorf("%s is not what data-path.md.tmpl makes of data-path.json: make data-path writes it anew", path)
	}
}

// reported returns a report of two kernels that tell of two events.
func reported() *kernel.Report {
	r := kernel.NewReport([]string{"6.1", "6.12"})
	for _, k := range []string{"6.12", "6.1"} {
		r.Add(k, kernel.Row{
			Table: "waits", Event: "the box is off", Volume: "block", Kernel: "reconnected at attempt 3", Driver: "waiting",
			Writes: &api.Written{Acked: 55, Longest: 8123 * time.Millisecond},
		})
		r.Add(k, kernel.Row{Table: "waits", Event: "the box is off", Volume: "ext4", Writes: &api.Written{Acked: 7, Errors: map[string]int{"EIO": 2, "EROFS": 1}}})
		r.Add(k, kernel.Row{Table: "waits", Event: "a | b", Volume: "ext4", Figures: []kernel.Figure{{Name: "down time", Value: kernel.Took(241 * time.Millisecond)}}})
	}
	r.Close("6.12", "6.12.1-cloud")
	r.Close("6.1", "6.1.2-cloud")
	return r
}

func TestAPageTellsWhatWasReported(t *testing.T) {
	told, err := reported().Told()
	must(t, err)
	page, err := told.Page()
	must(t, err)
	for _, want := range []string{"6.1.2-cloud", "6.12.1-cloud", strings.Join([]string{
		"| what happened | volume | Linux | writes | longest write | errors | down time | the kernel | the driver |",
		"|---|---|---|---|---|---|---|---|---|",
		"| the box is off | block | 6.1 | 55 | 8.1 s | none |  | reconnected at attempt 3 | waiting |",
		"|  |  | 6.12 | 55 | 8.1 s | none |  | reconnected at attempt 3 | waiting |",
		"|  | ext4 | 6.1 | 7 | 0 ms | 2 × EIO, 1 × EROFS |  |  |  |",
		"|  |  | 6.12 | 7 | 0 ms | 2 × EIO, 1 × EROFS |  |  |  |",
		`| a \| b | ext4 | 6.1 |  |  |  | 240 ms |  |  |`,
		`|  |  | 6.12 |  |  |  | 240 ms |  |  |`,
	}, "\n")} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has not got\n%s\nbut\n%s", want, page)
		}
	}
}

func TestAReportIsWholeOrNotSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deeper", "told.json")
	r := kernel.NewReport([]string{"6.1", "6.12"})
	r.Close("6.1", "6.1.2-cloud")
	must(t, r.Save(path))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a report without a kernel was saved:", err)
	}

	must(t, reported().Save(path))
	told, err := kernel.LoadTold(path)
	must(t, err)
	if len(told.Rows) != 6 || told.Releases["6.12"] != "6.12.1-cloud" {
		t.Errorf("got %+v", told)
	}

	for want, row := range map[string]kernel.Row{
		"6.1 does not": {Table: "waits", Event: "one kernel alone tells of this", Volume: "xfs"},
		"no table":     {Table: "nonsense", Event: "the box is off", Volume: "xfs"},
	} {
		r := reported()
		r.Add("6.12", row)
		if want == "no table" {
			r.Add("6.1", row)
		}
		if err := r.Save(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a report with %v: %v", row, err)
		}
	}
}
