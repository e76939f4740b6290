// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "path/filepath"

// A fault is deliberate: in a file, what is right becomes wrong. Of several in a row with the same name all
// are switched on together.
type fault struct {
	name         string
	file         string // in the folder of the package whose tests must catch it
	right, wrong string // right occurs once
}

// lists are the faults by the package whose tests must catch them: any of them, or one of those that a
// regular expression names.
var lists = []struct {
	pkg, tests string
	faults     []fault
}{
	{"cmd/rds-csi", "^Test(TheStandbyWaits|Surroundings.*|Revokes.*|AnAttachment.*|NothingIsMadeInTheQuietTime|CommandLines|ABoxThat.*)$", faultsOfDriver},
	{"cmd/rds-csi", "^Test(Beside.*|WhatAControllerSent.*|ACommandWithoutTheLease.*|TheControllersOwnFlags|AGrantThatIsNew.*)$", faultsOfOperator},
	{"actors", "", faultsOfActors},
	{"rds", "", faultsOfBox},
	{"rds/console", "", faultsOfConsole},
	{"k8s", "", faultsOfKubernetes},
	{"k8s/kubevirt", "", faultsOfKubeVirt},
	{"csi", "", faultsOfCSI},
	{"nvme", "", faultsOfNVMe},
}

// A mutant is what is switched on at a time.
type mutant struct {
	name       string
	pkg, tests string
	faults     []fault
}

// path returns where the file of a fault is, from the top of the tree.
func (m mutant) path(f fault) string { return filepath.Join(m.pkg, f.file) }

// mutants returns all of them.
func mutants() (all []mutant) {
	for _, l := range lists {
		for _, f := range l.faults {
			if n := len(all) - 1; n >= 0 && all[n].name == f.name && all[n].pkg == l.pkg {
				all[n].faults = append(all[n].faults, f)
				continue
			}
			all = append(all, mutant{f.name, l.pkg, l.tests, []fault{f}})
		}
	}
	return all
}
