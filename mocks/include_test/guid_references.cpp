// guid_references.cpp - C++: INITGUID before the first header, comparison by reference and by operator.
// flags: -Wall -Wextra -Werror
#define INITGUID
#include <netioddk.h>
#include <ntddk.h>
DEFINE_GUID(A, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
DEFINE_GUID(B, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12);
extern "C" int Compare() { return IsEqualGUID(A, B) || A == B || A != B || InlineIsEqualGUID(A, B); }
