#!/usr/bin/env bash
# setup.sh - makes a clone usable: installs the Debian 12 packages that are missing, configures, builds all programs into
# build/. Run again after an update: what is done already costs seconds.
set -euo pipefail
cd -P "$(dirname "$0")"

cmake/packages.sh
cmake/build.sh plain product
echo "setup.sh: ready; try: build/nmrfuzz hunt corpus/modules/planted/work-item-tail.c"
