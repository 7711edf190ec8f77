#!/usr/bin/env bash
# compile.sh - compiles every file of this folder as nmrfuzz-cc compiles a module, without code generation.
#   NAME.c      as C               NAME.cpp       as C++
#   both_NAME.c as C and as C++    mock_NAME.cpp  as one of our own sources, headers taken by -I and by -isystem
#   fail_NAME.c must not compile as C
# A line "// flags: ..." in a file adds flags to it. $CLANG names the C compiler (default clang-19).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
headers=$here/../include
clang=${CLANG:-clang-19}
common=(-fsyntax-only -fms-extensions -fshort-wchar -mms-bitfields -fno-strict-aliasing -fwrapv
        -fno-delete-null-pointer-checks -fno-omit-frame-pointer -Wno-multichar -Wno-four-char-constants
        -Wno-unknown-pragmas -Wno-ignored-attributes -Werror=implicit-function-declaration
        -Wno-error=incompatible-function-pointer-types -Wno-incompatible-pointer-types-discards-qualifiers
        -Wno-missing-braces)
c=(-x c -std=gnu17 "${common[@]}" -I "$headers")
cpp=(-x c++ -std=c++20 -fno-exceptions -fno-rtti "${common[@]}" -I "$headers")
mock=(-x c++ -std=c++20 -fsyntax-only -DNMRFUZZ_MOCK -fms-extensions -fshort-wchar -Wall -Wextra -Werror)
passed=0
failed=0

count() { # count EXPECTED LABEL COMMAND...: EXPECTED is the wanted outcome, pass or fail
    local expected=$1 label=$2 outcome=pass output
    shift 2
    output=$("$@" 2>&1) || outcome=fail
    if [[ $outcome == "$expected" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: wanted %s\n%s\n' "$label" "$expected" "$output"
    fi
}

cd "$here"
for file in *.c *.cpp; do
    read -ra extra <<<"$(sed -n 's|^// flags: ||p' "$file")"
    case $file in
        fail_*.c) count fail "$file" "$clang" "${c[@]}" "${extra[@]}" "$file" ;;
        both_*.c)
            count pass "$file as C" "$clang" "${c[@]}" "${extra[@]}" "$file"
            count pass "$file as C++" "$clang" "${cpp[@]}" "${extra[@]}" "$file"
            ;;
        *.c) count pass "$file" "$clang" "${c[@]}" "${extra[@]}" "$file" ;;
        mock_*.cpp)
            count pass "$file with -I" "$clang" "${mock[@]}" -I "$headers" "${extra[@]}" "$file"
            count pass "$file with -isystem" "$clang" "${mock[@]}" -isystem "$headers" "${extra[@]}" "$file"
            ;;
        *.cpp) count pass "$file" "$clang" "${cpp[@]}" "${extra[@]}" "$file" ;;
    esac
done

# Each public and internal header alone, in each mode, without a warning. The packing headers come in pairs only.
for header in $(cd "$headers" && ls -- *.h nmrfuzz/*.h); do
    case $header in pshpack* | poppack*) continue ;; esac
    count pass "$header as C" "$clang" "${c[@]}" -Wall -Wextra -Werror -include "$header" /dev/null
    count pass "$header as C++" "$clang" "${cpp[@]}" -Wall -Wextra -Werror -include "$header" /dev/null
    count pass "$header in a mock" "$clang" "${mock[@]}" -I "$headers" -include "$header" /dev/null
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
