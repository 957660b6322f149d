# muster: `make run` and `make test` do all the set-up on a fresh Debian or Ubuntu with Go.

export CGO_ENABLED = 0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD = go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
RACE_PACKAGES = ./tsdb ./tsdb/codec ./tsdb/vfs ./ingest/... ./agent/... ./registry ./registry/policy ./registry/account

.PHONY: help run build test test-full check unit e2e race fuzz ui ui-verify cross bench bench-fleet bench-crash setup-go setup-ui clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: build ## build, then start a gateway with a simulated fleet of 200 devices
	./muster demo

build: ## build the static binary ./muster
	$(BUILD) -o muster .

test: setup-go setup-ui check unit ui-verify e2e cross ## everything a change must pass; installs what it needs
	@echo "make test: all passed"

test-full: test race fuzz bench-crash ## the long suites as well

check: ## formatting, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...

unit: ## Go tests of every package, with the real clients
	go test -timeout 10m ./...

race: ## Go tests of the concurrent packages under the race detector (needs gcc)
	command -v gcc >/dev/null || $(call apt,gcc libc6-dev)
	CGO_ENABLED=1 go test -race -timeout 20m $(RACE_PACKAGES)

fuzz: ## every fuzz target for FUZZTIME (30s)
	./.ci/fuzz $(or $(FUZZTIME),30s)

ui: setup-ui ## rebuild the web UI into admin/ui/dist
	cd admin/ui && npm run build

ui-verify: ## the committed bundle is the one that its sources give; its unit tests, types and sizes
	cd admin/ui && npm run lint && npm test && npm run build && npm run size
	@test -z "$$(git status --porcelain admin/ui/dist)" || { git status --short admin/ui/dist; echo "admin/ui/dist is not what its sources give: run make ui and commit it"; exit 1; }

e2e: build ## the UI in Chromium against a real gateway with a fleet
	cd admin/ui && node e2e/gateway.mjs ../../muster

cross: ## the platforms that we release for
	for arch in amd64 arm64 arm; do GOOS=linux GOARCH=$$arch GOARM=7 $(BUILD) -o dist/muster-linux-$$arch . || exit 1; done
	for arch in amd64 arm64 arm; do GOOS=linux GOARCH=$$arch GOARM=7 $(BUILD) -o dist/muster-agent-linux-$$arch ./agent/muster-agent || exit 1; done
	GOOS=darwin GOARCH=arm64 go vet ./...
	go test -run 'TestSize' -count=1 . -args -dist dist

bench: build ## speed and memory of the parts (docs/benchmarks.md)
	go test -run '^$$' -bench . -benchtime 1s ./tsdb/... ./ingest/... ./registry/...

bench-fleet: build ## CPU per message and memory, against mosquitto
	./muster bench compare

bench-crash: build ## 100 times kill -9 under load: nothing acknowledged is lost
	./muster bench crash --kills 100

# What the tests run besides Go. Each target does nothing where the programs are there.
apt = { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }

setup-go:
	@command -v mosquitto_pub >/dev/null && command -v openssl >/dev/null && command -v curl >/dev/null && [ -x /usr/bin/aws ] || $(call apt,mosquitto-clients openssl curl ca-certificates awscli)

setup-ui:
	@command -v chromium >/dev/null || $(call apt,chromium fonts-dejavu-core)
	@command -v npm >/dev/null || $(call apt,nodejs npm)
	@cmp -s admin/ui/package-lock.json admin/ui/node_modules/.installed || { cd admin/ui && npm ci --no-audit --no-fund && cp package-lock.json node_modules/.installed; }

clean: ## remove what was built
	rm -rf muster dist admin/ui/node_modules
