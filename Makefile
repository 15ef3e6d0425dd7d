# Everything a contributor runs. `make test` needs Go and gcc; what else a
# check wants (npm, a corpus) it looks for, and says when it did without.

GO       ?= go
GOFLAGS  ?=
# A count, not a time: before Go 1.27 a run that ends by the clock can fail with
# "context deadline exceeded" and no input to blame (go.dev/issue/75804).
FUZZTIME ?= 20000x
# Pinned: a linter that changes under a project changes the project.
GOLANGCI  = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: all build static test race vet lint fuzz nightly bench clients conformance demo tour

all: build test lint

build: ## the binary, with the embedded warehouse
	$(GO) build -o bin/querywarden ./cmd/querywarden

static: ## one static file, Snowflake only
	CGO_ENABLED=0 $(GO) build -trimpath -tags minicore_disabled -ldflags '-s -w' -o bin/querywarden-static ./cmd/querywarden

test:
	$(GO) test ./...

race:
	$(GO) test -race ./...

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(GOLANGCI) run

# Each fuzz target in turn, FUZZTIME each: go test takes one target a run.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
	  done; \
	done

# 100,000 statements made at random, each in two worlds that differ in what is
# masked; a new seed each night.
nightly:
	$(GO) test -timeout 2h -v -run '^TestWorldsNightly$$' ./internal/snowsql/rewrite -nightly 100000 -seed $$(date +%Y%m%d)

# Ratios against a named floor measured in the same run; see each benchmark.
bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Claude Code, Codex, Gemini CLI and others against a gateway, on loopback alone.
clients:
	.ci/clients

# The protocol's own conformance suite and inspector, against our HTTP stack and
# the binary. Without npm they are skipped, and say so.
conformance:
	@command -v npm >/dev/null || echo "skipped: npm is not here"
	$(GO) test -count=1 -run '^(TestConformance|TestInspector)$$' ./mcp ./cmd/querywarden

demo:
	$(GO) run ./cmd/querywarden demo

tour:
	$(GO) run ./cmd/querywarden demo --tour
