#!/usr/bin/env bash
# Runs every fuzz target for a long time; `bench/fuzz.sh -help` tells more.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
cd "$here/.."

usage() {
	cat <<'TEXT'
usage: bench/fuzz.sh [-time <duration>] [-total <duration>] [-workers <n>] [-only <regexp>]

Runs every fuzz target of this module, one after the other, and ends with a table in
Markdown. What a target finds interesting stays in Go's cache, so that the next run goes
on from there. An input that fails is written to testdata/fuzz/<target> beside the test,
from where every `go test` runs it; then the script fails, at the end.

  -time <duration>   for each target; 1m by default
  -total <duration>  CPU time for all targets together, in place of -time; what one target
                     leaves over the following ones get
  -workers <n>       processes that try inputs at once; 1 by default
  -only <regexp>     only targets whose "package target" matches

A duration is a number with s, m or h: 90s, 10m, 8h. CPU time is user and system time of
the fuzzing processes, without compiling. Everything runs at the lowest priority (nice).
TEXT
}

fail() {
	echo "bench/fuzz.sh: $*" >&2
	exit 2
}

# seconds reads a duration.
seconds() {
	[[ $1 =~ ^([1-9][0-9]*)([smh])$ ]] || fail "$1 is no duration, such as 90s, 10m or 8h"
	case ${BASH_REMATCH[2]} in
	s) echo "${BASH_REMATCH[1]}" ;;
	m) echo $((BASH_REMATCH[1] * 60)) ;;
	h) echo $((BASH_REMATCH[1] * 3600)) ;;
	esac
}

each=60 total= workers=1 only=.
while [ $# -gt 0 ]; do
	case $1 in
	-h | -help | --help)
		usage
		exit 0
		;;
	-time | -total | -workers | -only) [ $# -ge 2 ] || fail "$1 lacks its value" ;;
	*)
		usage >&2
		exit 2
		;;
	esac
	case $1 in
	-time) each=$(seconds "$2") || exit ;;
	-total) total=$(seconds "$2") || exit ;;
	-workers) [[ $2 =~ ^[1-9][0-9]*$ ]] && workers=$2 || fail "$2 is no number of workers" ;;
	-only) only=$2 ;;
	esac
	shift 2
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
GOFLAGS="$(go env GOFLAGS) -buildvcs=false"
export GOFLAGS
module=$(go list -m)
cache=$(go env GOCACHE)/fuzz

scripts/fuzz-targets.sh | grep -E -- "$only" >"$work/targets" || fail "no target matches $only"
left=$(wc -l <"$work/targets")
sum_execs=0 sum_cpu=0 failures=0 built= row=

# share is how long the next target runs, in seconds: with -total, its part of the CPU
# time that is left, since one worker takes about one core.
share() {
	[ -n "$total" ] || {
		echo "$each"
		return
	}
	awk -v t="$total" -v c="$sum_cpu" -v l="$left" -v w="$workers" 'BEGIN { s = (t - c) / l / w; printf "%d", s < 1 ? 1 : s }'
}

# number prints what stands behind a word in the fuzzer's last line of progress.
number() {
	sed -nE "s/^fuzz: elapsed: .*$1: ([0-9]+).*/\1/p" "$work/log" | tail -n 1
}

# Coverage is counted in our own packages and in those that parse for them. All that is
# instrumented costs time with every input, and Go would take the whole of Caddy.
parsers=(encoding/base64 encoding/json mime mime/multipart net/mail net/netip net/textproto net/url strconv
	github.com/caddyserver/caddy/v2/caddyconfig/caddyfile github.com/golang-jwt/jwt/v5 github.com/MicahParks/jwkset)
instrument=("-gcflags=$module/...=-d=libfuzzer")
for package in "${parsers[@]}"; do
	instrument+=("-gcflags=$package=-d=libfuzzer")
done

# compile builds the tests of a package, unless they are those built last.
compile() {
	[ "$1" = "$built" ] && return 0
	built=
	nice -n 19 go test -c "${instrument[@]}" -o "$work/test" "$1" >"$work/log" 2>&1 && built=$1
}

# attempt runs a target once, in its package's folder, where failing inputs go.
attempt() {
	local package=$1 target=$2 time=$3 ok=yes bad=no
	(
		cd "$package"
		nice -n 19 "$work/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "${time}s" -test.fuzzminimizetime 10x \
			-test.fuzzcachedir "$cache/$module${package#.}" -test.parallel "$workers" -test.timeout 0 >"$work/log" 2>&1 || bad=yes
		times >"$work/times" # of this subshell, and in the second line of what it has run
		[ "$bad" = no ]
	) || ok=no
	execs=$((execs + $(number execs | grep . || echo 0)))
	fresh=$((fresh + $(number 'new interesting' | grep . || echo 0)))
	cpu=$(awk -v c="$cpu" 'NR == 2 { gsub("s", ""); split($1, u, "m"); split($2, k, "m"); print c + 60 * (u[1] + k[1]) + u[2] + k[2] }' "$work/times")
	[ "$ok" = yes ]
}

# fuzz runs a target and adds a row to the table. The fuzzer can call its own end of time
# a failure ("context deadline exceeded", with no input that fails): that is no finding,
# and so it may try once more.
fuzz() {
	local package=$1 target=$2 time=$3 result=ok
	execs=0 fresh=0 cpu=0
	if ! compile "$package"; then
		result="does not compile"
	elif ! attempt "$package" "$target" "$time"; then
		if grep -q 'context deadline exceeded' "$work/log" && ! grep -q 'Failing input' "$work/log"; then
			attempt "$package" "$target" "$time" || result=FAILED
		else
			result=FAILED
		fi
	fi
	if [ "$result" != ok ]; then
		failures=$((failures + 1))
		tail -n 60 "$work/log" >&2
	fi
	sum_execs=$((sum_execs + execs))
	sum_cpu=$(awk -v a="$sum_cpu" -v b="$cpu" 'BEGIN { print a + b }')
	row="| ${package#./} | $target | $execs | $fresh | $(printf %.0f "$cpu") | $result |"
}

{
	echo "| package | target | executions | new interesting | CPU seconds | result |"
	echo "|---|---|---:|---:|---:|---|"
} >"$work/table"
while read -r package target; do
	time=$(share)
	echo "$package $target: $time s ..." >&2
	fuzz "$package" "$target" "$time" </dev/null
	echo "$row" | tee -a "$work/table" >&2
	left=$((left - 1))
done <"$work/targets"

echo
cat "$work/table"
awk -v n="$(wc -l <"$work/targets")" -v e="$sum_execs" -v c="$sum_cpu" -v f="$failures" \
	'BEGIN { printf "| **all** | %d targets | %d | | %.0f (%.1f h) | %d failed |\n", n, e, c, c / 3600, f }'
[ "$failures" = 0 ]
