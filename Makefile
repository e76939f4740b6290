# Copyright The rds-csi Authors
# SPDX-License-Identifier: Apache-2.0
#
# Needs Go, make, git, and a C compiler for the race detector. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO ?= go
PKG ?= ./...
FUZZTIME ?= 60s
COUNT ?= 5
STORM ?=
SEEDS ?= 1000000
FIRST ?= 0
DEEPER ?= 1
ONLY ?=
SCENARIO ?= .
RUNS ?= 1
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

LINT_VERSION := $(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" { print $$2 }' tools/lint/go.mod)
LINT := .cache/golangci-lint-$(LINT_VERSION)

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)$$/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: build
build: ## Build bin/rds-csi and bin/rds-sim
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: test
test: ## Run every test under the race detector; then, without it and at length, the matrix and the volume's exploration
	$(GO) test -race -timeout 30m ./...
	cd e2e && $(GO) test -race ./...
	@# The one waits, the other works: side by side they keep the processors busy.
	@$(MAKE) --no-print-directory -j2 -Otarget test-matrix test-volume

.PHONY: test-matrix
test-matrix: ## Part of make test: lead volumes through faults on boxes of every kind, over API, TLS and SSH
	cd cmd/rds-csi && CGO_ENABLED=0 $(GO) test -trimpath -timeout 30m -run '^TestMatrix$$'

.PHONY: test-volume
test-volume: ## Part of make test: explore and simulate the volume
	cd actors && nice $(GO) test -run '^(TestExplore|TestSimulation)$$'

.PHONY: explore
explore: ## Explore larger worlds of a volume: DEEPER=1 a fault more, 2 and a request more, 3 and a moment more
	cd actors && $(GO) test -run '^TestExplore$$' -timeout 0 -explore.deeper=$(DEEPER)

.PHONY: simulate
simulate: ## Simulate SEEDS schedules (1000000) of a whole driver, from FIRST (0) on
	cd actors && $(GO) test -run '^TestSimulation$$' -timeout 0 -sim.seeds=$(SEEDS) -sim.first=$(FIRST)

.PHONY: mutants
mutants: ## Switch deliberate faults on, one after the other, and demand that a test fails (ONLY=epoch)
	$(GO) run ./tools/mutate -only='$(ONLY)'

.PHONY: matrix
matrix: ## Run every cell of the matrix, which takes hours
	RDS_MATRIX=all $(GO) test -race -v -timeout=0 -run '^TestMatrix$$' ./cmd/rds-csi | grep -Ev '^ *(=== |--- PASS)'

.PHONY: race
race: ## Run the tests COUNT times (5) under the race detector, in another order each time (PKG=./rds)
	$(GO) test -race -count=$(COUNT) -shuffle=on $(PKG)

.PHONY: demo
demo: build ## Migrate a VM disk between two nodes on a simulated box
	./bin/rds-csi demo

.PHONY: bench
bench: build ## Run attach storms on a simulated box (STORM=--volumes=50), then go test -bench (PKG=./actors)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./bench/storm
	@mkdir -p bench/out
	./bin/storm $(STORM)
	$(GO) test -run '^$$' -bench . -benchmem $(PKG) | tee bench/out/go-bench.txt

.PHONY: e2e
e2e: ## Run the driver against a real control plane and sidecars, RUNS times (SCENARIO=migration PLANES=2)
	@GO='$(GO)' e2e/run '$(SCENARIO)' '$(RUNS)' '$(PLANES)'

.PHONY: e2e-tools
e2e-tools: ## Build that control plane once, into a cache outside of the clone: 11 minutes of CPU
	@GO='$(GO)' e2e/tools/build

.PHONY: e2e-kernel
e2e-kernel: ## Run the driver on real kernels in QEMU, RUNS times (SCENARIO=6.12/Faults)
	@GO='$(GO)' e2e/run-kernel '$(SCENARIO)' '$(RUNS)'

.PHONY: data-path
data-path: ## Write docs/reference/data-path.md from what the last green make e2e-kernel without a SCENARIO saw
	@test -f .cache/data-path.json || { echo 'there is nothing to write it from: run make e2e-kernel first'; exit 1; }
	cp .cache/data-path.json e2e/kernel/data-path.json
	cd e2e && $(GO) test -count=1 -run '^TestDataPath$$' ./kernel -update

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (60s), one after the other
	@GO='$(GO)' tools/fuzz '$(FUZZTIME)'

.PHONY: lint
lint: $(LINT) ## Run golangci-lint, built from the version in tools/lint/go.mod
	$(LINT) run ./...
	cd e2e && ../$(LINT) run ./...

$(LINT): tools/lint/go.mod tools/lint/go.sum
	@echo "building golangci-lint $(LINT_VERSION) once, into $@"
	@mkdir -p $(@D)
	cd tools/lint && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: verify
verify: ## Check formatting, vet, go.mod, scripts, links and manifests, then lint
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs -r gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	bash -n .ci/run tools/fuzz e2e/run e2e/run-kernel e2e/guest/fetch e2e/tools/build
	$(GO) vet ./...
	cd e2e && $(GO) vet ./...
	$(GO) mod tidy -diff
	cd e2e && $(GO) mod tidy -diff
	$(GO) test ./docs/... ./deploy/...
	$(MAKE) --no-print-directory lint

.PHONY: clean
clean: ## Remove what the other targets built
	rm -rf bin .cache bench/out
