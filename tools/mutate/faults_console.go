// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The console of a box over SSH: what a script is made of, and how its output is read.
var faultsOfConsole = []fault{
	{"write a comment without quotes", "word.go", "return `\"` + value + `\"`, nil", "return value, nil"},
	{"write whatever is in a comment", "word.go", "if !plain(s[i]) {", "if s[i] == 0 {"},
	{"let a variable of the console into a script", "word.go", "case '.', '_', ':', '/', '-':", "case '.', '_', ':', '/', '-', '$':"},
	{"let the end of a command into an .id", "word.go", "idForm       = regexp.MustCompile(`^\\*[0-9A-F]{1,16}$`)", "idForm       = regexp.MustCompile(`^\\*[0-9A-F]{1,16}`)"},
	{"compare the beginning of a guarded value alone", "statement.go", "terms[i] = `(` + got + `=` + value + `)`", "terms[i] = `(` + begin + `=` + value + `)`"},
	{"drop the guards of a removal", "statement.go", "return allOf(s.Menu, s.ID, s.Guards, s.Menu+` remove `", "return allOf(s.Menu, s.ID, nil, s.Menu+` remove `"},
	{"let one guard of several do", "statement.go", "strings.Join(terms, ` and `)", "strings.Join(terms, ` or `)"},
	{"believe half of a listing", "answer.go", "if a.text != strconv.Itoa(len(a.rows)) {", "if a.text == \"\" {"},
	{"take a stale guard for a success", "answer.go", "a.outcome = stale", "a.outcome = ok"},
	{"accept any host key", "hostkey.go", "if !bytes.Equal(key.Marshal(), want.Marshal()) {", "if key.Type() != want.Type() {"},
	{"accept any host key by its fingerprint", "hostkey.go", "if ssh.FingerprintSHA256(key) != pin {", "if pin == \"\" {"},
}
