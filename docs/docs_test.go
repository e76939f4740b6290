// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test checks the documentation against the tree.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rds-csi/rds-csi/actors"
)

var (
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	notSlug = regexp.MustCompile(`[^a-z0-9 _-]`)
	source  = regexp.MustCompile("`([a-z0-9_-]+(?:/[a-z0-9_-]+)+\\.go)`")
)

// pages returns every Markdown page of the repository by its path from the root, without its code blocks.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		found[filepath.Clean(path)] = fence.ReplaceAllString(string(text), "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// slug is the anchor that a heading gets on the usual Git hosts.
func slug(title string) string {
	title = strings.ToLower(strings.TrimSpace(title))
	return strings.ReplaceAll(notSlug.ReplaceAllString(title, ""), " ", "-")
}

func hasAnchor(page, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		if slug(m[1]) == anchor {
			return true
		}
	}
	return false
}

func TestLinks(t *testing.T) {
	all := pages(t)
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", path, m[1], err)
				continue
			}
			if anchor != "" && !hasAnchor(all[to], anchor) {
				t.Errorf("%s: link to %s: no such heading", path, m[1])
			}
		}
	}
}

// A page that names a source file by its path names one that there is. A package that is not written
// yet has no files to name.
func TestSourceFiles(t *testing.T) {
	for path, text := range pages(t) {
		for _, m := range source.FindAllStringSubmatch(text, -1) {
			file := filepath.Join("..", m[1])
			if _, err := os.Stat(filepath.Dir(file)); err != nil {
				continue
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: names %s: %v", path, m[1], err)
			}
		}
	}
}

// The example of a ledger is one that the driver would write.
func TestLedgerExample(t *testing.T) {
	page, err := os.ReadFile("adr/0007-ledger-in-the-comment.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?m)^rds-csi\.1/.*$`).FindString(string(page))
	if _, ours, err := actors.ParseLedger(example); err != nil || !ours {
		t.Errorf("ParseLedger(%q): ours %v, error %v", example, ours, err)
	}
}

// A page that names a test names one that there is.
func TestNamedTests(t *testing.T) {
	defined := make(map[string]bool)
	define := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range define.FindAllSubmatch(text, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	for path, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !defined[m[1]] {
				t.Errorf("%s: names %s, and there is no such test", path, m[1])
			}
		}
	}
}
