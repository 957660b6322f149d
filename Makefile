# muster: `make run` and `make test` do all the set-up on a fresh Debian or Ubuntu with Go.

export CGO_ENABLED = 0
# For all, so that builds and tests share what is compiled.
export GOFLAGS := $(GOFLAGS) -trimpath
# The UI's own programs first: a newer Node.js may be among them (.ci/setup).
UI = cd admin/ui && export PATH="$$PWD/.node/node_modules/.bin:$$PATH"
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD = go build -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK = v0.7.0
RACE = ./tsdb ./tsdb/codec ./tsdb/vfs ./ingest/... ./agent/... ./registry ./registry/policy ./registry/account

.PHONY: help run build test test-full check unit race fuzz sdk ui ui-verify e2e cross bench bench-fleet bench-tsdb bench-crash bench-soak clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: build ## build, then start a gateway with a simulated fleet of 200 devices
	./muster demo

build: ## build the static binary ./muster
	$(BUILD) -o muster .

test: check unit sdk ui-verify e2e cross ## everything a change must pass; installs what it needs
	@echo "make test: all passed"

test-full: test race fuzz bench-crash ## the long suites as well

check: ## formatting, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...

unit: ## Go tests of every package, with the real clients
	.ci/setup go
	go test -timeout 15m ./...

race: ## Go tests of the concurrent packages under the race detector
	.ci/setup race
	CGO_ENABLED=1 go test -race -timeout 30m $(RACE)

fuzz: ## every fuzz target for FUZZTIME (30s)
	.ci/fuzz $(or $(FUZZTIME),30s)

sdk: build ## AWS's SDKs for Python, JavaScript and Go against a real gateway
	.ci/setup sdk
	.ci/clients ./muster

ui: ## rebuild the web UI into admin/ui/dist
	.ci/setup ui
	$(UI) && npm run build

ui-verify: ## types, unit tests and sizes of the UI; the committed bundle is what its sources give
	.ci/setup ui
	$(UI) && npm run lint && npm test && npm run build && npm run size
	@test -z "$$(git status --porcelain admin/ui/dist)" || { git status --short admin/ui/dist; echo "admin/ui/dist is not what its sources give: run make ui and commit it"; exit 1; }

e2e: build ## the UI in Chromium, against a real gateway with a fleet
	.ci/setup ui
	PATH="$$PWD/admin/ui/.node/node_modules/.bin:$$PATH" .ci/e2e ./muster

cross: ## the platforms that we release for, and their sizes
	for arch in amd64 arm64 arm; do \
		GOOS=linux GOARCH=$$arch GOARM=7 $(BUILD) -o dist/muster-linux-$$arch . && \
		GOOS=linux GOARCH=$$arch GOARM=7 $(BUILD) -o dist/muster-agent-linux-$$arch ./agent/muster-agent || exit 1; \
	done
	GOOS=darwin GOARCH=arm64 go build ./tsdb/... ./ingest/... ./agent/... ./bench/... # what speaks to the system
	go test -count=1 -run TestSize -v . -args -dist dist

bench: ## speed and memory of the parts
	go test -run '^$$' -bench . -benchtime 1s ./tsdb/... ./ingest/... ./registry/...

bench-fleet: build ## CPU per message and memory, beside mosquitto
	command -v mosquitto >/dev/null || { echo "install mosquitto first: apt-get install mosquitto"; exit 1; }
	./muster bench compare

bench-tsdb: build ## the twin store, beside VictoriaMetrics (which it builds)
	.ci/bench-tsdb ./muster

bench-crash: build ## 100 times kill -9 under load, 10,000 simulated power cuts, 2,000 faults: nothing acknowledged is lost
	./muster bench crash --kills 100 --powercuts 10000 --faults 2000

bench-soak: build ## clients come and go for 5 minutes: nothing grows
	./muster bench soak

clean: ## remove what was built
	rm -rf muster dist admin/ui/node_modules admin/ui/.node
