// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"time"
)

// A Result is how a check came out.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warn    Result = "warn"    // works, and should be looked at
	Fail    Result = "FAIL"    // the driver does not work, or not safely
	Skipped Result = "skipped" // not looked at; Seen says why
)

// A Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Seen   string `json:"seen"`
	Do     string `json:"do,omitempty"` // what to change

	granted []string // of rightsCheck: the account's policies
}

// An Answer is what became of an open question, or of one of its switches.
type Answer struct {
	Question string `json:"question"`
	// Switch is the field of sim.Switches that is settled, and Value how it must stand. Empty: the question
	// has none.
	Switch string `json:"switch,omitempty"`
	Value  string `json:"value,omitempty"`
	// Seen is the evidence.
	Seen string `json:"seen"`
	// Unsettled says why there is no answer. Empty: there is one.
	Unsettled string `json:"unsettled,omitempty"`
}

// A Refusal is a command that the box refused, and its words.
type Refusal struct {
	Question string `json:"question"`
	Command  string `json:"command"`
	Text     string `json:"text"`
}

// A Row is a file disk or a pool, as the box showed it.
type Row struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Slot       string `json:"slot"`
	File       string `json:"file,omitempty"`
	Size       string `json:"size,omitempty"`
	Free       string `json:"free,omitempty"`
	State      string `json:"state,omitempty"`
	MountPoint string `json:"mount-point,omitempty"`
	Export     string `json:"export,omitempty"`
	Port       string `json:"port,omitempty"`
	NQN        string `json:"nqn,omitempty"`
	AllowHost  string `json:"allow-host,omitempty"`
	Comment    string `json:"comment,omitempty"`
}

// A Report is what was found. It holds no secret.
type Report struct {
	Driver    string    `json:"driver"` // version
	At        time.Time `json:"at"`
	Address   string    `json:"address"`
	Transport string    `json:"transport"`
	RouterOS  string    `json:"routeros"`
	Board     string    `json:"board"`
	Uptime    string    `json:"uptime"`
	Rows      []Row     `json:"rows"`
	Checks    []Check   `json:"checks"`
	Answers   []Answer  `json:"answers,omitempty"`
	Refusals  []Refusal `json:"refusals,omitempty"`
	// Changes is what differs from an earlier report.
	Changes []string `json:"changes,omitempty"`
	// Left is what an experiment made and could not remove.
	Left []string `json:"left,omitempty"`
}

// Healthy reports whether no check failed and nothing was left behind.
func (r *Report) Healthy() bool {
	return len(r.Left) == 0 && !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Result == Fail })
}

// Failed counts the checks that failed.
func (r *Report) Failed() (n int) {
	for _, c := range r.Checks {
		if c.Result == Fail {
			n++
		}
	}
	return n
}

func (r *Report) check(name string, result Result, seen, do string) {
	r.Checks = append(r.Checks, Check{Name: name, Result: result, Seen: seen, Do: do})
}
