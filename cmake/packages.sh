#!/usr/bin/env bash
# packages.sh - installs the Debian 12 packages that nmrfuzz is built with. Touches no network when all are there.
set -euo pipefail

packages=(
  clang-19 libclang-rt-19-dev lld-19 llvm-19  # compiler, sanitizer runtimes, linker, symbolizer and opt
  clang-format-19 clang-tidy-19
  cmake ninja-build
  libboost-context1.81-dev  # fibers
  libcli11-dev libfmt-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "packages.sh: these packages are missing and neither root nor sudo is at hand to install them:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 2
  fi
  as_root=(sudo)
fi

# Another apt-get may hold one of the locks, and only dpkg's can be waited for by an option.
run_apt() {
  local attempt
  for attempt in 1 2 3 4 5 6; do
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"; then
      return 0
    fi
    echo "packages.sh: apt-get $1 failed (attempt $attempt of 6)" >&2
    [[ $attempt -eq 6 ]] || sleep 20
  done
  return 1
}

echo "packages.sh: installing ${missing[*]}"
run_apt update
run_apt install --yes --no-install-recommends "${missing[@]}"
