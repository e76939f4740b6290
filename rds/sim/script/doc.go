// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

// Package script interprets the part of RouterOS's console language that clients and operators of a
// disk server type: commands of menus with arguments and where, and
//
//	:put :error :local :global :set :if :foreach :for :while :do :onerror :return :len :pick :find
//	:tostr :tonum :typeof :delay :nothing :log
//
// with strings, escapes, $variables, [substitutions] and (expressions).
//
// A script is parsed as a whole before any of it is carried out, as RouterOS does: a name that is no
// command, or an argument that a command does not know, means that nothing happens. An error while
// it runs ends it; what was done before stays done.
//
// What the menus are and do is the [Box]'s. The package is pure but for what the box does and the
// waits of :delay; source, nesting, steps, values and output are bounded.
package script
