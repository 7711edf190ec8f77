// guid_declared.c - without INITGUID a DEFINE_GUID only declares; a const GUID of C with flat and nested braces.
#include <ntddk.h>
#include <guiddef.h>
DEFINE_GUID(DeclaredOnly, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
DEFINE_GUID(DeclaredOnly, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
const GUID Nested = {0x1, 0x2, 0x3, {4, 5, 6, 7, 8, 9, 10, 11}};
const GUID Flat = {0x1, 0x2, 0x3, 4, 5, 6, 7, 8, 9, 10, 11};
__declspec(selectany) const GUID Any = {0};
int Compare(REFGUID a) { return IsEqualGUID(a, &DeclaredOnly) && InlineIsEqualGUID(&Nested, &Flat); }
