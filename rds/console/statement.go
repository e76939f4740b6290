// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"strings"
)

// A Statement is one step of a script: [List], [Add], [Set], [Remove] or [RemoveFile]. Its answer begins
// with a mark.
type Statement interface {
	// body returns the statement in RouterOS's language.
	body(mark string) (string, error)
}

// A Property is one that a statement sets. The value may be empty.
type Property struct{ Name, Value string }

// Op is how a condition compares.
type Op int

// The comparisons. BeginsWith and BeginsNot are for guards only.
const (
	Equals     Op = iota // the property is Value
	BeginsWith           // the property begins with Value
	BeginsNot            // the property does not begin with Value
	Present              // the property is set and not empty; Value is not used
)

// A Condition is about one property of a row.
type Condition struct {
	Property string
	Op       Op
	Value    string
}

// List reads the rows of a menu.
type List struct {
	Menu       string
	Properties []string    // those that are read; at least one
	Any        []Condition // rows that fulfil one of them; empty: all rows
}

// Add makes a row. The value of its result is the .id.
type Add struct {
	Menu       string
	Properties []Property
	Unless     []Condition // it is stale where a row fulfils one of them
}

// Set changes a row.
type Set struct {
	Menu   string
	ID     string
	Guards []Condition // all must hold, or it is stale
	// Changes are one or two sets of properties, written one after the other.
	Changes [][]Property
}

// Remove removes a row.
type Remove struct {
	Menu   string
	ID     string
	Guards []Condition // all must hold, or it is stale
}

// RemoveFile removes a file by its name, which has no leading slash.
type RemoveFile struct{ Name string }

func (s List) body(mark string) (string, error) {
	if err := checkMenu(s.Menu); err != nil {
		return "", err
	}
	if len(s.Properties) == 0 {
		return "", errEmpty
	}
	keys := make([]string, len(s.Properties))
	for i, p := range s.Properties {
		if err := checkProperty(p); err != nil {
			return "", err
		}
		keys[i] = `"` + p + `"`
	}
	where, err := anyOf(s.Any)
	if err != nil {
		return "", err
	}
	return `:local n 0;:foreach d in=[` + s.Menu + ` print detail as-value` + where + `] do={` +
		`:local s "";:foreach k in={` + strings.Join(keys, ";") + `} do={:local v [:tostr ($d->$k)];` +
		`:if ([:len $v]>0) do={:set s ($s . $k . "=" . [:len $v] . ":" . $v . ";")}};` +
		`:put ("` + mark + `row;" . $s . ";");:set n ($n+1)};` +
		`:put ("` + mark + `ok;" . [:len [:tostr $n]] . ":" . $n . ";")`, nil
}

func (s Add) body(mark string) (string, error) {
	if err := checkMenu(s.Menu); err != nil {
		return "", err
	}
	props, err := assign(s.Properties)
	if err != nil {
		return "", err
	}
	do := `:local v [:tostr [` + s.Menu + ` add` + props + `]];:put ("` + mark + `ok;" . [:len $v] . ":" . $v . ";")`
	if len(s.Unless) == 0 {
		return do, nil
	}
	where, err := anyOf(s.Unless)
	if err != nil {
		return "", err
	}
	return guarded(`[:len [`+s.Menu+` find`+where+`]]=0`, do, mark), nil
}

func (s Set) body(mark string) (string, error) {
	if err := checkItem(s.Menu, s.ID); err != nil {
		return "", err
	}
	if n := len(s.Changes); n != 1 && n != 2 {
		return "", fmt.Errorf("%d changes, 1 or 2 are possible", n)
	}
	var do strings.Builder
	for i, c := range s.Changes {
		props, err := assign(c)
		if err != nil {
			return "", err
		}
		if i > 0 {
			do.WriteString(`:put "` + mark + `step;";`)
		}
		do.WriteString(s.Menu + ` set ` + s.ID + props + `;`)
	}
	do.WriteString(done(mark))
	return allOf(s.Menu, s.ID, s.Guards, do.String(), mark)
}

func (s Remove) body(mark string) (string, error) {
	if err := checkItem(s.Menu, s.ID); err != nil {
		return "", err
	}
	return allOf(s.Menu, s.ID, s.Guards, s.Menu+` remove `+s.ID+`;`+done(mark), mark)
}

func (s RemoveFile) body(mark string) (string, error) {
	name, err := quote("name", s.Name)
	switch {
	case err != nil:
		return "", err
	case s.Name == "":
		return "", errEmpty
	case strings.HasPrefix(s.Name, "/"):
		return "", errors.New("the name of a file has no leading slash")
	}
	return `/file remove numbers=` + name + `;` + done(mark), nil
}

// done tells a success that has no value.
func done(mark string) string { return `:put "` + mark + `ok;0:;"` }

// assign returns properties as arguments of a command.
func assign(props []Property) (string, error) {
	if len(props) == 0 {
		return "", errEmpty
	}
	var b strings.Builder
	seen := map[string]bool{}
	for _, p := range props {
		value, err := quote(p.Name, p.Value)
		if err != nil {
			return "", err
		}
		if seen[p.Name] {
			return "", fmt.Errorf("%s is set twice", p.Name)
		}
		seen[p.Name] = true
		b.WriteString(` ` + p.Name + `=` + value)
	}
	return b.String(), nil
}

// anyOf returns the condition of a print or find.
func anyOf(conditions []Condition) (string, error) {
	terms := make([]string, len(conditions))
	for i, c := range conditions {
		value, err := quote(c.Property, c.Value)
		switch {
		case err != nil:
			return "", err
		case c.Op == Equals:
			terms[i] = `(` + c.Property + `=` + value + `)`
		case c.Op == Present:
			terms[i] = `(` + c.Property + `~".")`
		default:
			return "", fmt.Errorf("%s: rows are chosen by Equals and Present alone", c.Property)
		}
	}
	if len(terms) == 0 {
		return "", nil
	}
	return ` where ` + strings.Join(terms, ` or `), nil
}

// allOf returns what does something if all guards of a row hold.
func allOf(menu, id string, guards []Condition, do, mark string) (string, error) {
	if len(guards) == 0 {
		return do, nil
	}
	terms := make([]string, len(guards))
	for i, g := range guards {
		value, err := quote(g.Property, g.Value)
		if err != nil {
			return "", err
		}
		got := `[:tostr [` + menu + ` get ` + id + ` value-name=` + g.Property + `]]`
		begin := fmt.Sprintf(`[:tostr [:pick %s 0 %d]]`, got, len(g.Value))
		switch {
		case g.Op == Equals:
			terms[i] = `(` + got + `=` + value + `)`
		case g.Op == Present:
			terms[i] = `([:len ` + got + `]>0)`
		case g.Value == "":
			return "", fmt.Errorf("%s: every value begins with nothing", g.Property)
		case g.Op == BeginsWith:
			terms[i] = `(` + begin + `=` + value + `)`
		case g.Op == BeginsNot:
			terms[i] = `(` + begin + `!=` + value + `)`
		default:
			return "", fmt.Errorf("%s: unknown comparison", g.Property)
		}
	}
	return guarded(strings.Join(terms, ` and `), do, mark), nil
}

func guarded(condition, do, mark string) string {
	return `:if (` + condition + `) do={` + do + `} else={:put "` + mark + `stale;"}`
}
