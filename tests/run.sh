#!/usr/bin/env bash
# Every test of the project, one after the other; the last line is `N passed, N failed[, N skipped]`.
# Installs what the tests need: npm packages, Python's OpenTelemetry SDK in a virtual environment,
# Go senders as modules, Chromium from Debian where apt is there. What cannot be had on a machine
# is counted as skipped and named, never as passed.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
passed=0 failed=0 skipped=0
say() { printf '\n== %s\n' "$*"; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# step NAME COMMAND...: one pass or one failure.
step() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  if "$@"; then
    passed=$((passed + 1))
    printf -- '-- %s: ok (%ss)\n' "$name" $((SECONDS - start))
  else
    failed=$((failed + 1))
    printf -- '-- %s: FAILED (%ss)\n' "$name" $((SECONDS - start))
  fi
}

# Adds the figures of all `test result:` lines of a cargo run.
cargo_tests() {
  local name=$1 status
  shift
  say "$name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  read -r ok bad < <(awk '/^test result:/ {p += $4; f += $6} END {print p + 0, f + 0}' "$log")
  passed=$((passed + ok))
  failed=$((failed + bad))
  skipped=$((skipped + $(grep -c '^SKIPPED ' "$log")))
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
    failed=$((failed + 1))
  fi
}

# As step, but a line that begins with SKIPPED counts as skipped and not as passed.
skippable() {
  local name=$1
  shift
  say "$name"
  if ! "$@" 2>&1 | tee "$log"; then
    failed=$((failed + 1))
    printf -- '-- %s: FAILED\n' "$name"
  elif grep -q '^SKIPPED ' "$log"; then
    skipped=$((skipped + 1))
  else
    passed=$((passed + 1))
  fi
}

step "page: install" make --no-print-directory ui/node_modules/.installed
step "page: build" make --no-print-directory ui
step "page: tests" npm --prefix ui run --silent test
step "page: linters" npm --prefix ui run --silent lint
step "format" cargo fmt --all --check
step "tools for the tests" bash tests/install-tools.sh
cargo_tests "rust tests" cargo test --workspace --locked --no-fail-fast -- --show-output
export TERCET_BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug/tercet
# Of the whole workspace: for one crate alone cargo would build what it stands on once more.
step "binaries" cargo build --workspace --locked --quiet
# The same choices each time: what chance finds belongs into `make chaos`, not into somebody's change.
cargo_tests "chaos: the fast rows" "${CARGO_TARGET_DIR:-target}/debug/chaos" --seed 1
skippable "page: in a browser" npm --prefix ui run --silent test:browser
step "bill of materials" make --no-print-directory sbom
step "clippy" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

printf '\n'
if [ "$skipped" -gt 0 ]; then
  printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
else
  printf '%s passed, %s failed\n' "$passed" "$failed"
fi
[ "$failed" -eq 0 ]
