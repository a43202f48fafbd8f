#!/usr/bin/env bash
# What comes into the binary: licences, bans, sources and advisories with cargo-deny, and the bill of
# materials. cargo-deny is built once into target/tools, which takes minutes. Every check that cannot
# run on this machine says `SKIPPED <check>: why`; it is never counted as passed.
set -uo pipefail
cd "$(dirname "$0")/.."
DENY=0.20.2
STEP_SECONDS_MAX=1800
tools=$PWD/target/tools
deny=$tools/bin/cargo-deny
mkdir -p "$tools/bin"
failed=0

if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $DENY" ]; then
  start=$SECONDS
  if CARGO_TARGET_DIR=$tools/build-deny timeout "$STEP_SECONDS_MAX" cargo install --quiet --locked \
    --version "$DENY" --root "$tools" cargo-deny >"$tools/cargo-deny.log" 2>&1; then
    printf 'cargo-deny %s: installed in %ss\n' "$DENY" $((SECONDS - start))
  else
    tail -n 3 "$tools/cargo-deny.log"
  fi
  rm -rf "$tools/build-deny"
fi

if [ -x "$deny" ]; then
  for check in licenses bans sources; do
    if "$deny" --offline check --hide-inclusion-graph "$check"; then
      printf 'cargo-deny %s: ok\n' "$check"
    else
      printf 'cargo-deny %s: FAILED\n' "$check"
      failed=1
    fi
  done
  # The database is a repository of its own, on another host than the crates.
  if log=$(timeout 120 "$deny" fetch db 2>&1); then
    if "$deny" check --disable-fetch --hide-inclusion-graph advisories; then
      printf 'cargo-deny advisories: ok\n'
    else
      printf 'cargo-deny advisories: FAILED\n'
      failed=1
    fi
  else
    printf 'SKIPPED advisories: their database cannot be fetched: %s\n' "$(tail -n 1 <<<"$log")"
  fi
else
  printf 'SKIPPED licences, bans, sources, advisories: cargo-deny %s cannot be built here\n' "$DENY"
fi

if python3 tests/tools/sbom.py target/sbom.cdx.json; then
  printf 'sbom: target/sbom.cdx.json\n'
else
  failed=1
fi
exit "$failed"
