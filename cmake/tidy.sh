#!/usr/bin/env bash
# tidy.sh - clang-tidy over every translation unit of the plain build tree, one job per core.
# A unit that passed is remembered in build/tidy-cache under a hash of all that its verdict hangs on: the unit, every
# header and table, the configuration. So a second run takes a second, and a change costs what it touches.
set -euo pipefail
cd -P "$(dirname "$0")/.."

cache=build/tidy-cache
mkdir -p "$cache"
find "$cache" -type f -mtime +30 -delete

common=$({
  clang-tidy-19 --version
  cat .clang-tidy cmake/flags.cmake
  find mocks fuzz stress \( -name '*.h' -o -name '*.def' \) -print0 | LC_ALL=C sort -z | xargs -0 --no-run-if-empty sha256sum
} | sha256sum)
export cache common

check_unit() {
  local unit=$1 key output
  key=$({ echo "$common"; sha256sum "${unit#"$PWD"/}"; } | sha256sum | cut -d' ' -f1)
  if [[ -e $cache/$key ]]; then
    touch "$cache/$key"
    return
  fi
  if ! output=$(clang-tidy-19 -p build --quiet "$unit" 2>&1); then
    grep -vE '^[0-9]+ warnings? (generated|treated)' <<<"$output" >&2 || true
    return 1
  fi
  touch "$cache/$key"
}
export -f check_unit

sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/compile_commands.json | LC_ALL=C sort -u |
  xargs --no-run-if-empty -P "$(nproc)" -I{} bash -c 'check_unit "$1"' _ {}
