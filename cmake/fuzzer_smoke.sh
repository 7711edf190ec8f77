#!/usr/bin/env bash
# fuzzer_smoke.sh FUZZER SEED_FOLDER - a short, deterministic run of a libFuzzer program. New inputs go to a folder
# that is thrown away, so each run starts from the seeds alone.
set -euo pipefail
fuzzer=$1
seeds=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folders=("$work")
[[ ! -d $seeds ]] || folders+=("$seeds")
"$fuzzer" -runs=2000 -seed=1 -timeout=60 -verbosity=1 -print_final_stats=1 "${folders[@]}"
