#!/usr/bin/env bash
# Measures Caddy with kibo_auth against Caddy without it; see README.md beside
# this file. Takes eight minutes and two cores of Linux; sends nothing anywhere
# but to 127.0.0.1.
#
# usage: bench/run.sh [-short] [-stores] [-flood] [-profile folder]
set -euo pipefail

# allowed prints the cores that this process may use, one a line.
allowed() {
	taskset -pc $$ | sed 's/.*: //' | tr ',' '\n' | while IFS=- read -r from to; do seq "$from" "${to:-$from}"; done
}

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
command -v taskset >/dev/null || { echo "taskset is missing: install util-linux" >&2; exit 1; }
mapfile -t cores < <(allowed)
[ ${#cores[@]} -ge 2 ] || { echo "two cores are needed: one for the gateway, one for the load" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$here/.." && go build -buildvcs=false -o "$work/caddy" ./cmd/caddy && go build -buildvcs=false -o "$work/bench" ./bench)
ulimit -n 8192 2>/dev/null || true
taskset -c "${cores[1]}" "$work/bench" -caddy "$work/caddy" -core "${cores[0]}" "$@"
