#!/usr/bin/env bash
# The whole gate: everything that must hold before a change is pushed.
# `./test.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# What the tests run besides Go and the shell: "command packages needed-by". A missing
# command is installed from Debian's packages, and only where the file needed-by exists.
needs=(
	"gcc gcc,libc6-dev go.mod" # the race detector links with cgo
	"chromium chromium e2e/package.json"
	"node nodejs e2e/package.json"
	"npm npm e2e/package.json"
	"php-cgi php-cgi caddytest"
	"apache2 apache2-bin caddytest"
	"nginx nginx-light caddytest"
	"varnishd varnish caddytest"
	"redis-server redis-server,redis-tools redisstore"
)

usage() {
	cat <<'TEXT'
usage: ./test.sh [fast]

Runs the whole gate: gofumpt, go vet, staticcheck, all tests with the race detector (a
skipped test fails), every fuzz target for a while, caddy fmt and caddy validate on every
Caddyfile here and in the documentation, and the browser tests. Ends with a line
"N passed, M failed". Needs Go and, for what Go does not bring, apt-get.

  fast       go vet and the tests with the race detector only
  FUZZTIME   how long each fuzz target runs; 10s by default
TEXT
}

passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count adds what a step counted itself, if it did; a step is else one pass or failure.
count() {
	local ok=$1 p=0 f=0 s=0
	if [ -s "$work/counts" ]; then
		read -r p f s <"$work/counts"
		rm "$work/counts"
	fi
	passed=$((passed + p))
	failed=$((failed + f + s))
	if [ "$ok" = yes ] && [ "$p" = 0 ]; then passed=$((passed + 1)); fi
	if [ "$ok" = no ] && [ $((f + s)) = 0 ]; then failed=$((failed + 1)); fi
}

# step runs one check, announced and timed. A failed one does not end the run: one run
# tells everything that is wrong.
step() {
	local name=$1 start=$SECONDS ok=yes
	shift
	echo "== $name"
	"$@" </dev/null || ok=no
	count "$ok"
	if [ "$ok" = yes ]; then
		echo "   ok: $name ($((SECONDS - start)) s)"
	else
		echo "   FAILED: $name ($((SECONDS - start)) s)"
	fi
}

# quietly runs a command and prints the end of what it said only if it fails.
quietly() {
	"$@" >"$work/log" 2>&1 && return 0
	tail -n 200 "$work/log"
	return 1
}

tool() { go tool -modfile=tools/go.mod "$@"; }

# go_files prints this module's Go files: tools/ and what npm brings are not ours.
go_files() {
	find . -name '*.go' -not -path './.*' -not -path './tools/*' -not -path '*/node_modules/*' "$@"
}

install_needs() {
	local need command packages path missing=()
	for need in "${needs[@]}"; do
		read -r command packages path <<<"$need"
		[ -e "$path" ] || continue
		command -v "$command" >/dev/null || missing+=(${packages//,/ })
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing: ${missing[*]}"
	local sudo=()
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	export DEBIAN_FRONTEND=noninteractive
	quietly "${sudo[@]}" apt-get update &&
		quietly "${sudo[@]}" apt-get install -y --no-install-recommends "${missing[@]}"
}

formatted() {
	local unformatted
	unformatted=$(go_files -print0 | xargs -0 go tool -modfile=tools/go.mod gofumpt -l) || return 1
	[ -z "$unformatted" ] && return 0
	echo "to be formatted with gofumpt:"
	echo "$unformatted"
	return 1
}

# race_tests runs without the test cache: some tests read what the cache does not see.
race_tests() {
	go build -o "$work/testreport" ./internal/testreport &&
		go test -race -count=1 -timeout 20m -json ./... 2>&1 | "$work/testreport" -counts "$work/counts"
}

# fuzz_one runs a target. The fuzzer can call its own end of time a failure
# ("context deadline exceeded", with no input that fails); that is run once more.
fuzz_one() {
	local package=$1 target=$2 log="$work/fuzz-${1//\//-}-$2" try
	for try in 1 2; do
		if timeout 15m go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 10x -parallel 1 "$package" >"$log" 2>&1; then
			echo "ok   $package $target"
			return 0
		fi
		grep -q 'context deadline exceeded' "$log" || break
		! grep -q 'Failing input' "$log" || break
	done
	echo "FAIL $package $target"
	tail -n 100 "$log"
	return 1
}

# fuzz runs every target, two at a time.
fuzz() {
	local ok=yes
	export -f fuzz_one
	export work
	scripts/fuzz-targets.sh >"$work/targets"
	xargs -P 2 -L 1 bash -c 'fuzz_one "$@"' fuzz <"$work/targets" | tee "$work/fuzz" || ok=no
	echo "$(grep -c '^ok ' "$work/fuzz") $(grep -c '^FAIL ' "$work/fuzz") 0" >"$work/counts"
	[ "$ok" = yes ]
}

# node_count prints a number of the summary that node's test runner ends with.
node_count() {
	local n
	n=$(sed -nE "s/^(#|ℹ) $1 ([0-9]+)\$/\2/p" "$work/e2e" | tail -n 1)
	echo "${n:-0}"
}

# with_node runs a command with a Node.js that the browser tests can use: Debian 12
# brings an older one, and npm has newer ones.
with_node() {
	if [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]; then
		"$@"
	else
		npx --yes -p node@20 -- "$@"
	fi
}

browser_tests() {
	local ok=yes ran skipped
	(cd e2e && quietly npm ci --no-audit --no-fund) || return 1
	(cd e2e && with_node timeout 15m npm test) >"$work/e2e" 2>&1 || ok=no
	ran=$(node_count pass)
	skipped=$(($(node_count skipped) + $(node_count todo)))
	echo "$ran $(node_count fail) $skipped" >"$work/counts"
	if [ "$ok" = no ] || [ "$ran" = 0 ] || [ "$skipped" != 0 ]; then
		tail -c 100000 "$work/e2e"
		return 1
	fi
	grep -E '^ok |^✔' "$work/e2e"
}

case ${1:-} in
"" | fast) ;;
-h | --help)
	usage
	exit 0
	;;
*)
	usage >&2
	exit 2
	;;
esac

# -short and -trimpath make Caddy's test harness skip its tests, so neither may come in
# from outside; other flags would also compile all of Caddy a second time. A version
# stamp is of no use here and fails in a clone that belongs to another user.
GOFLAGS="$(go env GOFLAGS) -short=false -trimpath=false -buildvcs=false"
# What Debian installs for the tests lies partly where not everybody looks.
PATH=$PATH:/usr/sbin
export GOFLAGS PATH NO_COLOR=1 npm_config_update_notifier=false

step "install what is missing" install_needs
if [ "${1:-}" = fast ]; then
	step "go vet" go vet ./...
	step "go test -race" race_tests
else
	step "gofumpt" formatted
	step "go vet" go vet ./...
	step "staticcheck" tool staticcheck ./...
	step "go test -race" race_tests
	step "fuzz" fuzz
	step "build Caddy" ./xcaddy.sh --using go "$work/caddy"
	step "Caddyfiles" scripts/check-caddyfiles.sh "$work/caddy"
	if [ -e e2e/package.json ]; then
		step "browser tests" browser_tests
	fi
fi

echo "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
