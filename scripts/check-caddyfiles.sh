#!/usr/bin/env bash
# Checks every Caddyfile of this repository with "caddy fmt" and "caddy validate": files
# named so, and every ```caddyfile block in the documentation, each of which must be a
# whole configuration. Shorter pieces are marked ```text there.
#
# usage: scripts/check-caddyfiles.sh <caddy>
set -euo pipefail

caddy=$(realpath "${1:?usage: scripts/check-caddyfiles.sh <caddy>}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# validate provisions everything, so it must not find the storage of a real Caddy.
export HOME=$work XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config

ours() { find . \( -name node_modules -o -path './.*' \) -prune -o -type f "$@" -print; }

# blocks writes each ```caddyfile block of a Markdown file to a file of its own that is
# named after its place, less the indentation of its fence.
blocks() {
	awk -v dir="$work" -v name="${1#./}" '
		BEGIN { gsub("/", "_", name) }
		!open && /^[ \t]*```caddyfile[ \t]*$/ {
			match($0, /^[ \t]*/); indent = RLENGTH; open = 1
			file = dir "/" name "_line_" NR ".caddyfile"; printf "" > file; next
		}
		open && /^[ \t]*```[ \t]*$/ { open = 0; close(file); next }
		open { print (substr($0, 1, indent) ~ /^[ \t]*$/ ? substr($0, indent + 1) : $0) > file }
		END { if (open) { print name ": block without an end" > "/dev/stderr"; exit 1 } }
	' "$1"
}

# dummy prints a value for a variable that a Caddyfile reads, fit for what its name says.
dummy() {
	case $1 in
	*REDIS*) echo redis://127.0.0.1:6379 ;;
	*URL*) echo http://127.0.0.1:8080 ;;
	*PORT*) echo 8080 ;;
	*UPSTREAM* | *LEGACY* | *ADDR*) echo 127.0.0.1:8080 ;;
	*HOST* | *DOMAIN* | *SITE*) echo shop.example.com ;;
	*) echo 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff ;; # a key, in hex and in base64
	esac
}

# set_variables gives every variable that a file reads, {env.X} or {$X}, a value, but
# leaves {$X:default} at its default.
set_variables() {
	local name
	for name in $(grep -oE '\{(env\.|\$)[A-Za-z0-9_]+\}' "$1" | sed -E 's/^\{(env\.|\$)//; s/\}$//' | sort -u); do
		[ -n "${!name:-}" ] || export "$name=$(dummy "$name")"
	done
}

# check holds one file against Caddy. Secret files, {file.…}, exist on a server only: a
# copy with stand-ins is validated where there are any.
check() {
	(
		config=$1
		set_variables "$1"
		if ! "$caddy" fmt --diff "$1" >"$work/log" 2>&1; then
			echo "not formatted; caddy fmt says:"
			grep -E '^[-+] |^Error' "$work/log"
			exit 1
		fi
		if grep -q '{file\.' "$1"; then
			config=$work/Caddyfile
			sed -E "s#\{file\.[^}]+\}#{file.$work/secret}#g" "$1" >"$config"
		fi
		cd "$work" # a storage with a relative path is made there
		if ! "$caddy" validate --adapter caddyfile --config "$config" >"$work/log" 2>&1; then
			echo "not valid; caddy validate says:"
			grep -E '^Error|"level":"error"' "$work/log" || tail -n 20 "$work/log"
			exit 1
		fi
	)
}

dummy KEY >"$work/secret"
while read -r doc; do blocks "$doc"; done < <(ours -name '*.md')
failed=0
while read -r file; do
	if problem=$(check "$(realpath "$file")"); then
		echo "ok   ${file#"$work/"}"
	else
		failed=1
		printf 'FAIL %s\n%s\n' "${file#"$work/"}" "$problem"
	fi
done < <(
	ours \( -name Caddyfile -o -name 'Caddyfile.*' -o -name '*.caddyfile' -o -name '*.Caddyfile' \) | sort
	find "$work" -name '*.caddyfile' | sort
)
[ "$failed" = 0 ]
