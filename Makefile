# Everything a developer or CI runs. `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Versions of the tools, run with `go run MODULE@VERSION`; nothing is installed.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM     := gotest.tools/gotestsum@v1.13.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
IMAGE   ?= redis-sync-sidecar:dev
PREFIX  ?= /usr/local

MODULE  := github.com/redis-sync/kubectl-redis-sync
STAMP   := $(MODULE)/internal/version
LDFLAGS := -s -w -X $(STAMP).version=$(VERSION) -X $(STAMP).commit=$(COMMIT) -X $(STAMP).date=$(DATE)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# What `make release-archives` builds; the krew template names the same six.
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Prints one line for each package, and failed and skipped tests with their
# reasons at the end.
TEST := go run $(GOTESTSUM) --format standard-quiet --

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##
.PHONY: build
build: ## Build the plugin and the replicator into bin/
	$(GOBUILD) -o bin/kubectl-redis_sync ./cmd/kubectl-redis_sync
	$(GOBUILD) -o bin/redis-sync-sidecar ./cmd/redis-sync-sidecar

.PHONY: install
install: build ## Install the plugin and its completion into PREFIX/bin (/usr/local/bin)
	install -d $(DESTDIR)$(PREFIX)/bin
	install bin/kubectl-redis_sync krew/kubectl_complete-redis_sync $(DESTDIR)$(PREFIX)/bin/

.PHONY: image
image: ## Build the replicator's image into dist/sidecar.tar, without a daemon
	go run ./cmd/sidecar-image --output dist/sidecar.tar --tag $(IMAGE) --version $(VERSION) --commit '$(COMMIT)'

.PHONY: test
test: test-packages ## Run the tests; installs the Debian packages that they need, as root
	go vet ./...
	@unformatted=$$(find . -name '*.go' -not -path './dist/*' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(TEST) $$(go list ./... | grep -v '/sidecar\(/\|$$\)')
	@# Most of these tests wait for servers, so more of them run than there are processors.
	$(TEST) -race -timeout 30m -parallel 5 ./sidecar/...
	cd test && go vet ./... && $(TEST) ./...
	cd test/cluster && CGO_ENABLED=0 $(TEST) $$(go list -f '{{if .TestGoFiles}}{{.ImportPath}}{{end}}' ./internal/...)

.PHONY: test-packages
test-packages: # Debian packages that `make test` needs and the machine lacks
	@missing=(); \
	command -v redis-server >/dev/null || missing+=(redis-server); \
	command -v gcc >/dev/null || missing+=(gcc libc6-dev); \
	if [ $${#missing[@]} -gt 0 ]; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "missing: $${missing[*]}; install them (names of Debian packages), or run make test as root on Debian" >&2; exit 1; \
		fi; \
		echo "installing Debian packages: $${missing[*]}"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$${missing[@]}"; \
	fi

.PHONY: lint
lint: ## Run the linters of .golangci.yml
	GOFLAGS= go run $(GOLANGCI_LINT) run ./...

.PHONY: fmt
fmt: ## Format the sources as the linters want them
	GOFLAGS= go run $(GOLANGCI_LINT) fmt ./...

.PHONY: fuzz
fuzz: FUZZTIME ?= 20s
fuzz: ## Fuzz every parser of bytes from outside, FUZZTIME (20s) each
	@grep -rl --include='*_test.go' '^func Fuzz' cmd internal plugin sidecar | xargs -n1 dirname | sort -u | while read -r dir; do \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			echo "$$dir $$name"; go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 300x ./$$dir; \
		done; \
	done

.PHONY: soak
soak: MINUTES ?= 2
soak: test-packages ## Kill and cut everything under writes for MINUTES (2), then compare (SOAK_* in test/soak/doc.go)
	cd test && SOAK_MINUTES=$(MINUTES) go test -v -count=1 -timeout 24h -run '^TestSoak$$' ./soak

.PHONY: measure-checkpoint
measure-checkpoint: test-packages ## Measure what exactly once costs on a cluster target, against two other ways
	cd test && MEASURE=1 go test -v -count=1 -timeout 30m -run '^TestCheckpointCost$$' ./measure

.PHONY: verify
verify: ## Fail when generated or formatted files differ from what is committed
	go mod verify
	@test -z "$$(git status --porcelain)" || { git status --short; echo "the tree is not clean" >&2; exit 1; }

.PHONY: demo
demo: ## Two clusters, two Redis, a synchronised pair: up and left running (Linux, root)
	cd test && go run ./cmd/demo

.PHONY: demo-down
demo-down: ## Remove what `make demo` or `make e2e` started
	cd test && go run ./cmd/demo -down

.PHONY: e2e
e2e: ## The path of the demo with assertions, and bad input (Linux, root)
	cd test && E2E=1 go test -v -count=1 -timeout 60m ./e2e

.PHONY: e2e-full
e2e-full: ## The same, then lost sites, frozen replicators, and the plugin killed in every step of a switch
	cd test && E2E=1 E2E_FULL=1 go test -v -count=1 -timeout 3h ./e2e

.PHONY: test-clusters
test-clusters: ## Test the test clusters themselves: up, cut, stop, start, down (Linux, root)
	cd test/cluster && CGO_ENABLED=0 go test -tags clusters -v -count=1 -timeout 20m ./life ./internal/network

.PHONY: matrix
matrix: ## Every Redis and Valkey release to every other one, as a table (Debian)
	cd test && MATRIX=1 go test -v -p 1 -count=1 -timeout 60m ./servers ./matrix

.PHONY: bench
bench: test-packages ## Measure full sync, streaming, latency against the servers' own speed (BENCH_* and PEER in test/bench/doc.go)
	cd test && BENCH=1 go test -v -count=1 -timeout 6h -run '^TestBench$$' ./bench

.PHONY: bench-check
bench-check: BENCH_KEYS ?= 1000000
bench-check: test-packages ## Fail when a ratio is more than 10 % worse than recorded in test/bench/recorded.json, at BENCH_KEYS=1000000
	cd test && BENCH=1 BENCH_CHECK=1 BENCH_KEYS=$(BENCH_KEYS) go test -v -count=1 -timeout 6h -run '^TestBench$$' ./bench

.PHONY: release-archives
release-archives: ## Build the archives of a release into dist/ (VERSION=v1.2.3, PLATFORMS=...)
	@rm -rf dist/archive && mkdir -p dist
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; exe=; [ $$os != windows ] || exe=.exe; \
		name=kubectl-redis_sync_$(VERSION)_$${os}_$$arch; echo "dist/$$name.tar.gz"; \
		mkdir -p dist/archive/$$name; \
		GOOS=$$os GOARCH=$$arch $(GOBUILD) -o dist/archive/$$name/kubectl-redis_sync$$exe ./cmd/kubectl-redis_sync; \
		cp LICENSE krew/kubectl_complete-redis_sync dist/archive/$$name/; \
		tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C dist/archive/$$name -cf - . | gzip -9n > dist/$$name.tar.gz; \
	done
	@rm -rf dist/archive
	cd dist && sha256sum kubectl-redis_sync_$(VERSION)_*.tar.gz > checksums.txt
	RELEASE_ARCHIVES=$(CURDIR)/dist RELEASE_TAG=$(VERSION) go test -count=1 -run TestArchives ./krew

.PHONY: clean
clean: ## Remove bin/ and dist/
	rm -rf bin dist
