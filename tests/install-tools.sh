#!/usr/bin/env bash
# Installs the senders and query tools that the tests run, into target/tools. What is already there
# in the wanted version stays. What cannot be had on this machine is named `SKIPPED <tool>: why`:
# the script still succeeds, and the tests that need it say `SKIPPED` themselves.
set -uo pipefail
cd "$(dirname "$0")/.."
repo=$PWD
tools=$repo/target/tools
build=$tools/build
mkdir -p "$tools/bin"

# No step may hang on a registry that does not answer.
STEP_SECONDS_MAX=1200
COLLECTOR=0.161.0
PROMETHEUS=0.315.0
LOKI=3.7.8
VERSITYGW=1.8.0

if ! command -v timeout >/dev/null; then
  timeout() { shift; "$@"; }
fi
limited() { timeout "$STEP_SECONDS_MAX" "$@"; }

# tool NAME VERSION COMMAND...: runs the command unless NAME stands there in that version.
tool() {
  local name=$1 version=$2 start=$SECONDS
  shift 2
  local stamp=$tools/.$name
  if [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
    printf '%s %s: there\n' "$name" "$version"
    return
  fi
  printf '%s %s: installing\n' "$name" "$version"
  rm -rf "$stamp" "$build"
  mkdir -p "$build"
  if "$@" >"$tools/$name.log" 2>&1; then
    printf '%s' "$version" >"$stamp"
    printf '%s %s: installed in %ss\n' "$name" "$version" $((SECONDS - start))
  else
    tail -n 5 "$tools/$name.log"
    printf 'SKIPPED %s: could not be installed in %ss, see %s\n' \
      "$name" $((SECONDS - start)) "target/tools/$name.log"
  fi
  # Module sources are read-only where they are copied from.
  chmod -R u+w "$build"
  rm -rf "$build"
}

python_sdk() {
  rm -rf "$tools/python"
  limited python3 -m venv "$tools/python" &&
    limited "$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check \
      --requirement "$repo/tests/tools/requirements.txt"
}

# go_build OUTPUT PACKAGE [FLAGS...]: static and without symbols, which halves the linking.
go_build() {
  local output=$1 package=$2
  shift 2
  CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false \
    limited go build -mod=mod -trimpath -ldflags='-s -w' "$@" -o "$tools/bin/$output" "$package"
}

# The sources of a module as a main module of its own, so that its `replace` lines count, as
# `go install MODULE@VERSION` refuses to do.
go_source() {
  local folder
  folder=$(cd "$build" && limited go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -n "$folder" ] && cp -R "$folder" "$build/source" && chmod -R u+w "$build/source"
}

collector() (
  cd "$build" || exit 1
  # It writes the sources and fetches what they stand on; the compiler is told how below.
  limited go run "go.opentelemetry.io/collector/cmd/builder@v$COLLECTOR" --skip-compilation \
    --config "$repo/tests/tools/collector/builder.yaml" &&
    cd collector && go_build otelcol .
)

# Neither the service discoveries, which are most of its code, nor the page.
prometheus() (
  go_source "github.com/prometheus/prometheus@v$PROMETHEUS" && cd "$build/source" &&
    go_build prometheus ./cmd/prometheus -tags remove_all_sd &&
    go_build promtool ./cmd/promtool -tags remove_all_sd
)

logcli() (
  # Its module for pushes lies beside it in the repository, but not in the module's zip.
  go_source "github.com/grafana/loki/v3@v$LOKI" && cd "$build/source" &&
    go mod edit -dropreplace github.com/grafana/loki/pkg/push &&
    go_build logcli ./cmd/logcli
)

# An S3 server over a folder, with conditional writes.
versitygw() (
  go_source "github.com/versity/versitygw@v$VERSITYGW" && cd "$build/source" &&
    go_build versitygw ./cmd/versitygw
)

debian_package() {
  export DEBIAN_FRONTEND=noninteractive
  limited apt-get update --quiet &&
    limited apt-get install --quiet --yes --no-install-recommends "$1"
}

# package NAME TEST...: installs a package of the distribution unless the test says that it is there.
package() {
  local name=$1
  shift
  if "$@" >/dev/null; then
    echo "$name: there"
  elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    tool "$name" "of the distribution" debian_package "$name"
  else
    echo "SKIPPED $name: not installed, and only root can install it"
  fi
}

if command -v python3 >/dev/null; then
  tool python-sdk "$(cksum <tests/tools/requirements.txt)" python_sdk
else
  echo "SKIPPED python-sdk: there is no python3"
fi

if command -v go >/dev/null; then
  tool otelcol "$COLLECTOR $(cksum <tests/tools/collector/builder.yaml)" collector
  tool prometheus "$PROMETHEUS" prometheus
  tool logcli "$LOKI" logcli
  tool versitygw "$VERSITYGW" versitygw
else
  echo "SKIPPED otelcol, prometheus, promtool, logcli, versitygw: there is no go"
fi

package chromium command -v chromium
# Puts a clock of its own before a process.
package faketime compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1'
# Make calls of a process fail, and note them.
package fiu-utils command -v fiu-run
package strace command -v strace
package xfsprogs command -v mkfs.xfs
