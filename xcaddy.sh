#!/usr/bin/env bash
# Builds Caddy with this plugin and its stores. `./xcaddy.sh --help` tells more.
set -euo pipefail

plugin=github.com/kiboauth/caddy-kibo-auth
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
	cat <<'TEXT'
usage: ./xcaddy.sh [--using xcaddy|tools|go] [output]

Builds Caddy with this plugin from this folder. output is the program to write, ./caddy by default.
Needs Go. The Caddy version is the one in go.mod.

Ways to build; without --using the first that works is taken, in this order:
  xcaddy   the xcaddy found on PATH
  tools    the xcaddy pinned in tools/go.mod
  go       go build ./cmd/caddy, which needs no xcaddy at all

GOOS, GOARCH and CGO_ENABLED have their usual meaning.
TEXT
}

say() { echo "xcaddy.sh: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# our_packages prints everything of ours that cmd/caddy imports, one a line: the one list
# of what belongs into a Caddy of ours.
our_packages() {
	sed -n "s#^[[:space:]]*_ \"\($plugin[^\"]*\)\".*#\1#p" cmd/caddy/main.go
}

# xcaddy_build runs the xcaddy given after the output. The plugin is this folder; it is
# given a version all the same, for Go would else ask for the published ones. Packages
# inside it come with it.
xcaddy_build() {
	local output=$1 version package flags=(--replace "$plugin=$root" --with "$plugin@v0.0.0")
	shift
	version=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2) || return 1
	while read -r package; do
		[ "$package" = "$plugin" ] || flags+=(--with "$package")
	done < <(our_packages)
	"$@" build "$version" "${flags[@]}" --output "$output"
}

# build tries one way.
build() {
	case $1 in
	xcaddy) xcaddy_build "$2" xcaddy ;;
	tools)
		go build -modfile=tools/go.mod -o "$scratch/xcaddy" github.com/caddyserver/xcaddy/cmd/xcaddy &&
			xcaddy_build "$2" "$scratch/xcaddy"
		;;
	go) go build -ldflags='-s -w' -o "$2" ./cmd/caddy ;;
	esac
}

# check asks the new program for our modules, unless it was built for another machine.
check() {
	[ "$(go env GOOS GOARCH)" = "$(go env GOHOSTOS GOHOSTARCH)" ] || return 0
	local modules module
	modules=$("$1" list-modules)
	for module in http.handlers.kibo_auth http.kibo_auth.stores.{memory,file,redis}; do
		grep -qx "$module" <<<"$modules" || die "$1 was built, but lacks $module"
	done
	say "$("$1" version | cut -d' ' -f1) with http.handlers.kibo_auth, stores: memory, file, redis"
}

using=
output=
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--using)
		[ $# -ge 2 ] || die "--using needs one of: xcaddy, tools, go"
		using=$2
		shift
		;;
	-*) die "unknown option $1; see --help" ;;
	*)
		[ -z "$output" ] || die "one output at most; see --help"
		output=$1
		;;
	esac
	shift
done

case $using in
"") ways=(xcaddy tools go) ;;
xcaddy | tools | go) ways=("$using") ;;
*) die "--using $using: must be one of: xcaddy, tools, go" ;;
esac
command -v go >/dev/null || die "Go is not installed; see https://go.dev/doc/install"
output=${output:-caddy}
[ -d "$output" ] && output=$output/caddy
case $output in /*) ;; *) output=$PWD/$output ;; esac

cd "$root"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for way in "${ways[@]}"; do
	if [ "$way" = xcaddy ] && ! command -v xcaddy >/dev/null; then
		[ -z "$using" ] || die "there is no xcaddy on PATH"
		continue
	fi
	say "building $output (way: $way)"
	if build "$way" "$output"; then
		check "$output"
		say "done: $output"
		exit 0
	fi
	say "this way did not work: $way"
done
die "nothing was built"
