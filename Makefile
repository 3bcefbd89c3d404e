# Targets for people; `make` lists them. Everything that a fresh Debian machine
# lacks is installed by the target that needs it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The toolchain that go.mod names, fetched like any module: it has the fixes of the standard library.
export GOTOOLCHAIN := auto
export GOFLAGS ?= -buildvcs=false
DATA ?= $(CURDIR)/data/demo
LISTEN ?= 127.0.0.1:8443
CLUSTER ?=
GO_TOOL := go tool -modfile=tools/go.mod
INIT := internal/engine/initbin/bin/slipway-init
WEB := internal/web/dist/index.html
WEB_SOURCES := $(wildcard web/*.html web/*.ts web/*.json web/scripts/*) $(shell find web/src -type f)

.PHONY: help demo demo-check demo-cluster cluster cluster-up cluster-down test test-cluster bench-cluster test-e2e unit lint build fmt bench generate clean test-web bench-web screenshots

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## set up, build, start on this machine, push a real Dash app; DATA= names the data folder; LISTEN= the address; ISOLATION=none needs no sandbox
	@./tools/setup $(if $(ISOLATION),bare,run)
	@$(MAKE) --no-print-directory build
	@bin/demo --data $(DATA) --listen $(LISTEN) --isolation '$(ISOLATION)'

demo-cluster: cluster-up ## the same on a real Kubernetes, which it builds and starts first; LISTEN= names the address
	@$(MAKE) --no-print-directory build
	@bin/demo cluster --cluster "$(CLUSTER)" --listen $(LISTEN)

demo-check: build ## the same on free ports with a headless browser, then tear down
	@./tools/setup test
	bin/demo check

build: $(INIT) $(WEB) ## bin/slipway, with the web UI, and bin/demo
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/slipway ./test/demo

$(INIT): $(wildcard cmd/slipway-init/*.go internal/engine/files/*.go internal/engine/inside/*.go internal/base/*/*.go) go.mod
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $@ ./cmd/slipway-init

# What the web UI is built with; Node itself comes from this machine or from PyPI.
web/node_modules/.package-lock.json: web/package.json web/package-lock.json web/.npmrc
	tools/node npm ci --no-audit
	@touch $@

$(WEB): web/node_modules/.package-lock.json $(WEB_SOURCES)
	tools/node npm run --silent build

test-web: build ## the web UI: types, lint, and a real browser on the real binary
	@./tools/setup test
	tools/node npm run --silent check
	tools/node npm run --silent e2e

screenshots: build ## every page in light, dark and phone width, into web/pictures
	@./tools/setup test
	tools/node npm run --silent screenshots

test: ## set up what tests need and pass them all
	@./tools/setup test
	@$(MAKE) --no-print-directory build lint unit test-e2e demo-check test-web test-cluster

unit: $(INIT) cluster ## unit and contract tests, with the race detector, real sandboxes and real packages
	bin/cluster build api # what tests would wait for in their own time
	SLIPWAY_TEST_ONLINE=1 SLIPWAY_TEST_BUILDS=1 $(GO_TOOL) gotestsum --format pkgname -- -race -shuffle=on -timeout 20m $$(go list ./... | grep -v /test/)

test-e2e: build
	$(GO_TOOL) gotestsum --format testname -- -race -shuffle=on -timeout 20m -count=1 $$(go list ./test/... | grep -v -e /test/cluster -e /test/installed)

cluster: # bin/cluster
	CGO_ENABLED=0 go build -trimpath -o bin/ ./test/cluster/cmd/cluster

cluster-up: cluster ## a real Kubernetes with two nodes on this machine; CLUSTER= names its folder
	@./tools/setup test
	bin/cluster --dir "$(CLUSTER)" up

cluster-down: cluster ## end it and remove all that it made
	bin/cluster --dir "$(CLUSTER)" down

test-cluster: build cluster ## what must work on a real Kubernetes: parts, and the stories of one machine; it ends the cluster that it starts
	@./tools/setup test
	@$(on-cluster); \
	SLIPWAY_TEST_CLUSTER="$(or $(CLUSTER),1)" $(GO_TOOL) gotestsum --format testname -- -race -timeout 40m -p 1 -count=1 ./test/cluster/... ./internal/engine/kube ./test/installed ./test/e2e

# A cluster that runs is used and stays.
on-cluster = bin/cluster --dir "$(CLUSTER)" kubectl get nodes >/dev/null 2>&1 || { trap 'bin/cluster --dir "$(CLUSTER)" down' EXIT; bin/cluster --dir "$(CLUSTER)" up; }

bench-cluster: build cluster ## measure on a real Kubernetes, into bench/cluster/README.md: pushes, what viewers see of changes and faults
	@./tools/setup test
	@$(on-cluster); go run ./bench/cluster --cluster "$(CLUSTER)"

lint: $(INIT) ## format, vet, linters, tidiness, known vulnerabilities
	go mod tidy -diff
	cd tools && go mod tidy -diff
	$(GO_TOOL) golangci-lint fmt --diff
	$(GO_TOOL) golangci-lint run --allow-parallel-runners
	./tools/vulncheck
	./tools/webaudit

fmt: ## format
	$(GO_TOOL) golangci-lint fmt

bench-web: build ## measure the web UI with thousands of apps
	@./tools/setup test
	go run ./bench/web

generate: build ## documents made from the code
	go generate ./...
	tools/node npm run --silent generate

bench: build ## measure against the targets, into bench/README.md
	@./tools/setup test
	go run ./bench

clean:
	rm -rf bin $(INIT) web/node_modules web/dist web/pictures web/e2e/out
	find internal/web/dist -mindepth 1 ! -name .gitignore -delete
