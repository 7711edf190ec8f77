#!/usr/bin/env bash
# build.sh PRESET [TARGET...] - configures and builds one preset of CMakePresets.json; all targets if none is named.
# Safe to start twice at the same time: the second waits.
set -euo pipefail
cd -P "$(dirname "$0")/.."

preset=$1
shift
tree=build
[[ $preset == plain ]] || tree=build/$preset

mkdir -p build
exec 9>build/.lock
flock 9

# A build tree that moved along with its checkout is full of old paths.
fresh=()
if [[ -f $tree/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$tree/CMakeCache.txt"; then
  fresh=(--fresh)
fi
if ! log=$(cmake "${fresh[@]}" --preset "$preset" 2>&1); then
  printf '%s\n' "$log" >&2
  exit 1
fi
cmake --build --preset "$preset" ${1:+--target "$@"} 9>&-
