#!/usr/bin/env bash
# test.sh [--quick] - the one command that checks everything, and what CI runs: packages, format, build, tests (those of
# the mocks also under AddressSanitizer and UndefinedBehaviorSanitizer), clang-tidy. Stops at the first step that fails.
#   --quick  leaves out clang-tidy
set -euo pipefail
cd -P "$(dirname "$0")"

quick=no
for option in "$@"; do
  case $option in
    --quick) quick=yes ;;
    -h | --help) sed -n '2,4s/^# //p' test.sh; exit 0 ;;
    *) echo "test.sh: unknown option \"$option\"; there is only --quick" >&2; exit 2 ;;
  esac
done

passed=0
failed=0
skipped=0
step=""

heading() {
  step=$1
  printf '\n== %s (at %d s)\n' "$step" "$SECONDS"
}

# The last line is read by CI. Steps other than tests do not count there; the exit status tells about them.
finish() {
  local status=$?
  echo
  if [[ $status -eq 0 ]]; then
    echo "test.sh: every step passed in $SECONDS s"
  else
    echo "test.sh: failed at step \"$step\" after $SECONDS s"
  fi
  local skips=""
  [[ $skipped -eq 0 ]] || skips=", $skipped skipped"
  echo "$passed passed, $failed failed$skips"
  exit "$status"
}
trap finish EXIT

run_tests() {
  local log=build/ctest-$1.log status=0 summary total failures skips
  ctest --preset "$1" --parallel "$(nproc)" 2>&1 | tee "$log" || status=$?
  summary=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+$' "$log" || true)
  read -r _ _ _ failures _ _ _ _ total <<<"${summary:-0% tests passed, 0 tests failed out of 0}"
  skips=$(grep -cE '^\s+[0-9]+ - .* \(Skipped\)$' "$log" || true)
  passed=$((passed + total - failures - skips))
  failed=$((failed + failures))
  skipped=$((skipped + skips))
  return "$status"
}

# mocks/include has the shape of the WDK's headers, corpus/ that of real drivers: neither is ours to format.
check_format() {
  local report
  if ! report=$(find mocks fuzz stress -path mocks/include -prune -o \( -name '*.h' -o -name '*.cpp' \) -print0 |
    xargs -0 --no-run-if-empty clang-format-19 --dry-run --Werror 2>&1); then
    echo "test.sh: run clang-format-19 -i on" >&2
    sed -E 's/^([^:]*):[0-9]+:[0-9]+: error: .*/  \1/; t; d' <<<"$report" | sort -u >&2
    return 1
  fi
}

heading "packages"
cmake/packages.sh

heading "clang-format"
check_format

heading "build"
cmake/build.sh plain

heading "tests"
run_tests plain

if [[ $quick == no ]]; then
  heading "clang-tidy"
  cmake/tidy.sh
fi
