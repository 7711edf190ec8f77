#!/usr/bin/env bash
# hardness.sh [MODULE...] - measures how hard the planted defects of the corpus are to find, all of them or those named,
# and writes it into the line "// hardness:" of each one's head: medians over 20 seeds of the schedules that
#   - the default hunt needs, of at most 10,000;
#   - a plain test would need, of at most 1,000: threads that run to completion, one peer for each NPI, no injected
#     failure, the windows world.
# It prints a line for each module, and the signatures where findings of one kind and rule have several. It fails if a
# seed of the default hunt finds nothing, any hunt another kind than expected, or a line cannot be written. A median is
# the tenth of 20. All of the corpus takes some ten minutes.
# $NMRFUZZ: the program (build/nmrfuzz). $NMRFUZZ_CORPUS: the corpus, as for the program.
set -euo pipefail
cd -P "$(dirname "$0")/.."

readonly seeds=20
readonly schedules=10000
readonly plain_schedules=1000
readonly plain=(--strategy run-to-completion --peers one --faults off --world windows)
readonly program=${NMRFUZZ:-build/nmrfuzz}
readonly planted=${NMRFUZZ_CORPUS:-corpus/modules}/planted

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
  echo "hardness.sh: $1" >&2
  failures=$((failures + 1))
}

# "NAME KIND,KIND" for each planted module.
planted_modules() {
  "$program" list --json | awk -F'"' '
    $2 == "name" { name = $4; kinds = "" }
    $2 == "expected" { inside = 1 }
    inside && NF == 3 && $2 != "expected" { kinds = kinds (kinds == "" ? "" : ",") $2 }
    inside && /\]/ { inside = 0; if (kinds != "") print name, kinds }'
}

# hunt MODULE SEED SCHEDULES OPTION... - prints "SCHEDULES-TO-FIND KIND RULE SIGNATURE", "- - - -" if nothing was found.
hunt() {
  local module=$1 seed=$2 most=$3 status=0
  shift 3
  "$program" hunt "$module" --seed "$seed" --schedules "$most" "$@" --out "$work/out" --json "$work/hunt.json" \
    >"$work/said" 2>&1 || status=$?
  if [[ $status -gt 1 ]]; then
    cat "$work/said" >&2
    fail "$module: seed $seed: exit status $status"
    echo "- - - -"
    return
  fi
  awk -F'"' '
    $2 == "findings" { inside = 1 }
    $2 == "notes" { inside = 0 }
    inside && $2 == "kind" { kind = $4 }
    inside && $2 == "rule" { rule = $4 == "" ? "-" : $4 }
    inside && $2 == "signature" { signature = $4; gsub(/ /, "_", signature) }
    inside && $2 == "schedules_to_find" { count = $3; gsub(/[^0-9]/, "", count) }
    END { if (kind == "") print "- - - -"; else print count, kind, rule, signature }' "$work/hunt.json"
}

# The median of the first column of what hunt() printed; "-" if the median seed found nothing.
median() {
  awk '{ print $1 == "-" ? 999999999 : $1 }' "$1" | sort -n |
    awk -v middle=$((seeds / 2)) 'NR == middle { print $1 == 999999999 ? "-" : $1 }'
}

# check MODULE KINDS FILE HOW MUST - says which seeds found nothing, if they MUST (yes), or something else than KINDS.
check() {
  local module=$1 kinds=$2 how=$4 must=$5 seed=0 count kind rule signature
  while read -r count kind rule signature; do
    seed=$((seed + 1))
    if [[ $count == - ]]; then
      [[ $must == no ]] || fail "$module: seed $seed: nothing found by $how"
    elif [[ ,$kinds, != *",$kind,"* ]]; then
      fail "$module: seed $seed: $kind $rule found by $how, expected $kinds: $signature"
    fi
  done <"$3"
}

# signatures MODULE FILE - says where findings of one kind and rule have several signatures.
signatures() {
  awk -v module="$1" '
    $1 != "-" && !seen[$4]++ { what = $2 " " $3; number[what]++; all[what] = all[what] "\n  " $4 }
    END {
      for (what in number)
        if (number[what] > 1) print module ": " number[what] " signatures of " what ":" all[what]
    }' "$2"
}

# The file whose head describes the module.
source_of() {
  local file
  for file in "$planted/$1.c" "$planted/$1.cpp" "$planted/$1/driver.c"; do
    if [[ -f $file ]]; then
      echo "$file"
      return
    fi
  done
  grep -lE "^// variant: +$1 " "$planted"/*.c "$planted"/*.cpp "$planted"/*/driver.c 2>/dev/null | head -1 || true
}

# write MODULE TEXT - replaces the value of the module's line "// hardness:", which has to be there; of a source with
# variants, the line behind the variant's own.
write() {
  local file variant
  file=$(source_of "$1")
  variant=$(grep -cE "^// variant: +$1 " "$file" || true)
  if ! awk -v module="$1" -v text="$2" -v mine=$((variant == 0)) '
    !/^\/\/ / { head_is_over = 1 }
    head_is_over { print; next }
    /^\/\/ variant: / { mine = $3 == module }
    mine && /^\/\/ hardness:/ { $0 = "// hardness: " text; written = 1 }
    { print }
    END { exit !written }' "$file" >"$work/source"; then
    fail "$1: $file has no line '// hardness:' to write '$2' to"
    return
  fi
  cmp -s "$work/source" "$file" || cat "$work/source" >"$file"
}

# measure MODULE KINDS
measure() {
  local module=$1 kinds=$2 seed hard naive
  : >"$work/default"
  : >"$work/plain"
  for ((seed = 1; seed <= seeds; ++seed)); do
    hunt "$module" "$seed" "$schedules" >>"$work/default"
    hunt "$module" "$seed" "$plain_schedules" "${plain[@]}" >>"$work/plain"
  done
  check "$module" "$kinds" "$work/default" "the default hunt" yes
  check "$module" "$kinds" "$work/plain" "hunt ${plain[*]}" no
  signatures "$module" "$work/default"
  hard=$(median "$work/default")
  naive=$(median "$work/plain")
  if [[ $hard == - ]]; then
    fail "$module: none in $schedules with most seeds: no hardness"
    return
  fi
  [[ $naive != - ]] || naive=$plain_schedules+
  echo "$module: $hard schedules; $naive run to completion; found with $(grep -vc '^-' "$work/default") of $seeds" \
    "seeds, signatures $(awk '$1 != "-" { print $4 }' "$work/default" | sort -u | wc -l)"
  write "$module" "$hard schedules; $naive run to completion"
}

planted_modules >"$work/modules"
names=("$@")
[[ $# -gt 0 ]] || mapfile -t names < <(cut -d' ' -f1 "$work/modules")
for module in "${names[@]}"; do
  kinds=$(awk -v module="$module" '$1 == module { print $2 }' "$work/modules")
  if [[ -n $kinds ]]; then
    measure "$module" "$kinds"
  else
    fail "'$module' is no planted module of the corpus"
  fi
done
if [[ $failures -gt 0 ]]; then
  echo "hardness.sh: $failures failures" >&2
  exit 1
fi
