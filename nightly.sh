#!/usr/bin/env bash
# nightly.sh [--time 60s] [--out DIR] [MODULE...] - installs what is missing, builds, and runs `nmrfuzz nightly` with
# the same arguments: every module of the corpus, a report, its path on the last line.
set -euo pipefail
here=$(cd -P "$(dirname "$0")" && pwd)

# Progress goes to standard error, so that `--json -` keeps standard output to itself.
"$here/cmake/packages.sh" >&2
"$here/cmake/build.sh" plain product >&2
exec "$here/build/nmrfuzz" nightly "$@"
