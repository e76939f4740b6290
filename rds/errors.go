// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package rds

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rds-csi/rds-csi/actors"
	"github.com/rds-csi/rds-csi/rds/routeros"
)

// A fate is what is known of a command from its answer alone.
type fate int

const (
	acknowledged fate = iota
	refused           // the box said no
	unsent            // it never left
	unanswered        // it may have happened, or may yet
)

func fateOf(err error) fate {
	var trap *routeros.Trap
	switch {
	case err == nil:
		return acknowledged
	case errors.As(err, &trap):
		// A command that was cut short may have done its work.
		if trap.Category == routeros.CategoryInterrupted {
			return unanswered
		}
		return refused
	case errors.Is(err, routeros.ErrNotSent):
		return unsent
	}
	return unanswered
}

// Texts of traps, lower case. Those of a full pool are not documented; what is not recognized here
// is judged by the free space that the pool shows.
var (
	fullText  = regexp.MustCompile(`no space|not enough (disk )?space|out of space|(disk|pool|volume|filesystem) (is )?full|quota`)
	takenText = regexp.MustCompile(`exist|already|in use|duplicate|busy`)
)

func trapText(err error) string {
	var trap *routeros.Trap
	if !errors.As(err, &trap) {
		return ""
	}
	return strings.ToLower(trap.Message)
}

func saysFull(err error) bool  { return fullText.MatchString(trapText(err)) }
func saysTaken(err error) bool { return isStale(err) || takenText.MatchString(trapText(err)) }

// saysMissing reports a refusal because the item is not there. A command that the box does not know
// has the same category.
func saysMissing(err error) bool { return strings.Contains(trapText(err), "no such item") }

// refusal gives a trap, which a read-back has confirmed to have changed nothing, its kind.
func refusal(err error) error {
	var trap *routeros.Trap
	if !errors.As(err, &trap) {
		return fmt.Errorf("%w: %w", err, actors.ErrUnavailable)
	}
	text := strings.ToLower(trap.Message)
	kind := actors.ErrUnavailable
	switch {
	case lacksPackage(err), lacksRights(err):
		kind = actors.ErrPrecondition
	case fullText.MatchString(text):
		kind = actors.ErrFull
	case trap.Category == routeros.CategoryArgument:
		kind = actors.ErrInvalid
	}
	return fmt.Errorf("%w: %w", explain(err), kind)
}

// unavailable is the error of a command that changes nothing, or was never sent.
func unavailable(err error) error { return fmt.Errorf("%w: %w", err, actors.ErrUnavailable) }

// unresolved is the error of a command that may have changed something.
func unresolved(err error) error { return fmt.Errorf("%w: %w", err, actors.ErrUnresolved) }
