#!/usr/bin/env bash
# readme_test.sh FILE - runs every command of FILE's ```console blocks, and checks that the output shown is real.
# A command is a line that begins with "$ "; the lines below it must each appear in what it prints, "..." standing for
# anything. A command may exit with 0 or, where it shows a finding, with 1.
set -euo pipefail
cd -P "$(dirname "$0")/.."

file=$1
command=""
output=""
commands=0
failures=0

fail() {
  echo "$file: $1" >&2
  failures=$((failures + 1))
}

run() {
  local status=0
  echo "\$ $1"
  output=$(bash -c "$1" 2>&1) || status=$?
  commands=$((commands + 1))
  [[ $status -le 1 ]] || fail "'$1' exits with $status:
$output"
}

# Turns a line of the README into a regular expression: everything literal but "...".
pattern_of() {
  sed -E 's/^ +//; s/[][\\.^$*+?(){}|]/\\&/g; s/\\\.\\\.\\\./.*/g' <<<"$1"
}

inside=no
while IFS= read -r line; do
  case $inside:$line in
    no:'```console') inside=yes ;;
    yes:'```') inside=no ;;
    yes:'$ '*)
      command=${line#\$ }
      run "$command"
      ;;
    yes:*) grep -qE -- "$(pattern_of "$line")" <<<"$output" || fail "'$command' does not print: $line
$output" ;;
  esac
done <"$file"

[[ $commands -gt 0 ]] || fail "no command found"
echo "$((commands)) commands, $failures failures"
[[ $failures -eq 0 ]]
