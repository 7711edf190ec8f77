// both_wide_strings.c - 16-bit wide literals initialise WCHAR arrays, counted strings and constants at each scope.
// flags: -Wall -Wextra -Werror -Wno-missing-braces
#include <ntddk.h>
#include <ntstrsafe.h>

static const WCHAR Name[] = L"\\Device\\Test";
C_ASSERT(sizeof(L"ab") == 6);
C_ASSERT(sizeof(Name) == 13 * sizeof(WCHAR));
static UNICODE_STRING Counted = RTL_CONSTANT_STRING(L"counted");
static ANSI_STRING Narrow = RTL_CONSTANT_STRING("narrow");
DECLARE_GLOBAL_CONST_UNICODE_STRING(Global, L"global");
DECLARE_CONST_UNICODE_STRING(AtFileScope, L"\\DosDevices\\Test");

EXTERN_C NTSTATUS WideStrings(PUNICODE_STRING Out, WCHAR *Buffer, SIZE_T Bytes);
NTSTATUS WideStrings(PUNICODE_STRING Out, WCHAR *Buffer, SIZE_T Bytes) {
    DECLARE_CONST_UNICODE_STRING(local, L"local");
    DECLARE_UNICODE_STRING_SIZE(scratch, 64);
    UNICODE_STRING inFunction = RTL_CONSTANT_STRING(L"in function");
    PCWSTR pointer = L"pointer";
    SIZE_T length = 0;
    RtlInitUnicodeString(Out, Buffer == NULL ? Name : pointer);
    RtlCopyUnicodeString(&scratch, &local);
    if (RtlEqualUnicodeString(&inFunction, &Counted, TRUE) || wcslen(pointer) != 7 || pointer[0] == L'\0') {
        RtlCopyUnicodeString(&scratch, &AtFileScope);
    }
    if (Narrow.Length == 0 || !NT_SUCCESS(RtlStringCbLengthW(Buffer, Bytes, &length))) {
        return RtlStringCbCopyW(Buffer, Bytes, L"text");
    }
    return RtlStringCchCatW(Buffer, Bytes / sizeof(WCHAR), L"more");
}
