# Two commands do all: `make run` and `make test`. Everything they need beyond Rust and Node is
# fetched from the package registries the first time.

CARGO ?= cargo
BIN := target/release/tercet
DATA ?= tercet-data
SHELL := /bin/bash

.PHONY: run build ui test test-rust test-ui lint bench chaos supply sbom clean help

help: ## Shows this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: build ## Builds what is missing and serves on http://127.0.0.1:4319
	./$(BIN) serve --data $(DATA)

build: ui/dist/index.html ## Builds the binary with its page
	$(CARGO) build --release --locked

ui: ui/dist/index.html ## Builds the page

ui/node_modules/.installed: ui/package.json ui/package-lock.json
	cd ui && npm ci --no-audit --no-fund
	@touch $@

ui/dist/index.html: ui/node_modules/.installed $(shell find ui/src ui/index.html ui/vite.config.ts -type f 2>/dev/null)
	cd ui && npm run --silent build
	@touch $@

test: ## Installs what the tests need and runs them all
	@bash tests/run.sh

lint: ## Format, clippy, and the page's linters
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	cd ui && npm run --silent lint

chaos: build ## Runs every fault of docs/reliability.md, under 3 hours; root is needed for some
	@bash tests/install-tools.sh
	$(CARGO) build --release --locked -p chaos -p fuzz
	./target/release/chaos --full --page docs/reliability.md

supply: ## Checks licences, bans, sources and advisories; builds cargo-deny first
	@bash tests/supply.sh

sbom: ## Writes what the binary is made of to target/sbom.cdx.json (CycloneDX)
	@mkdir -p target && python3 tests/tools/sbom.py target/sbom.cdx.json

bench: build ## Runs us and the peers on the same data: see benches/peers/README.md
	bash benches/peers/run.sh

clean: ## Removes what was built
	$(CARGO) clean
	rm -rf ui/dist ui/node_modules
