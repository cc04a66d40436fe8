#!/usr/bin/env bash
# Prints every fuzz target of this module as "package target", one a line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
find . -name '*_test.go' -not -path './.*' -not -path './tools/*' -not -path '*/node_modules/*' \
	-exec grep -oHE '^func Fuzz[A-Za-z0-9_]*' {} + | sed -E 's#/[^/]*:func # #' | sort
