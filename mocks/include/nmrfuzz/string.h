// string.h - memory and string routines of the runtime library, byte order, bit searches, version, GUID creation.
// Sources: documentation pages "RtlCopyMemory", "RtlCompareMemory", "RtlInitUnicodeString", "RtlCopyUnicodeString",
// "RtlCompareUnicodeString", "RtlAppendUnicodeToString", "RtlUlongByteSwap", "RtlGetVersion", "ExUuidCreate".
// Memory routines are the C library's, so that sanitizers see them. Wide strings have 16-bit units: the C library's wcs
// functions do not fit, and the few names below are our own.
#ifndef NMRFUZZ_STRING_H
#define NMRFUZZ_STRING_H

#include <string.h>

#include "nmrfuzz/guid.h"
#include "nmrfuzz/macros.h"
#include "nmrfuzz/status.h"
#include "nmrfuzz/wide.h"

NMRFUZZ_BEGIN_C

// Any IRQL, if the memory may be touched there.
#define RtlZeroMemory(destination, length) memset((destination), 0, (length))
#define RtlFillMemory(destination, length, fill) memset((destination), (fill), (length))
#define RtlCopyMemory(destination, source, length) memcpy((destination), (source), (length))
#define RtlMoveMemory(destination, source, length) memmove((destination), (source), (length))
#define RtlCopyBytes RtlCopyMemory
#define RtlZeroBytes RtlZeroMemory
#define RtlEqualMemory(a, b, length) (!memcmp((a), (b), (length)))
#ifndef NMRFUZZ_MOCK
#define ZeroMemory RtlZeroMemory
#define CopyMemory RtlCopyMemory
#define MoveMemory RtlMoveMemory
#define FillMemory RtlFillMemory
#endif

NMRFUZZ_INLINE PVOID RtlSecureZeroMemory(PVOID ptr, SIZE_T cnt) {
    memset(ptr, 0, cnt);
    __asm__ volatile("" : : "r"(ptr) : "memory");
    return ptr;
}

// The number of bytes that are equal, from the start.
NMRFUZZ_INLINE SIZE_T RtlCompareMemory(const void *Source1, const void *Source2, SIZE_T Length) {
    const UCHAR *a = (const UCHAR *)Source1;
    const UCHAR *b = (const UCHAR *)Source2;
    SIZE_T i = 0;
    while (i < Length && a[i] == b[i]) {
        ++i;
    }
    return i;
}

NMRFUZZ_INLINE BOOLEAN RtlIsZeroMemory(PVOID Buffer, SIZE_T Length) {
    const UCHAR *bytes = (const UCHAR *)Buffer;
    SIZE_T i = 0;
    while (i < Length && bytes[i] == 0) {
        ++i;
    }
    return (BOOLEAN)(i == Length);
}

#define RtlUshortByteSwap(x) __builtin_bswap16((USHORT)(x))
#define RtlUlongByteSwap(x) __builtin_bswap32((ULONG)(x))
#define RtlUlonglongByteSwap(x) __builtin_bswap64((ULONGLONG)(x))

// The position of a bit, -1 if none is set.
NMRFUZZ_INLINE CCHAR RtlFindMostSignificantBit(ULONGLONG Set) {
    return (CCHAR)(Set == 0 ? -1 : 63 - __builtin_clzll(Set));
}
NMRFUZZ_INLINE CCHAR RtlFindLeastSignificantBit(ULONGLONG Set) { return (CCHAR)(Set == 0 ? -1 : __builtin_ctzll(Set)); }

// Counted strings in place. A C++ literal is const, the field is not: hence the helper there.
#ifdef __cplusplus
extern "C++" {
template <typename Unit>
constexpr Unit *NmrfuzzStringBuffer(const Unit *Text) { return const_cast<Unit *>(Text); }
}
#else
#define NmrfuzzStringBuffer(text) (text)
#endif
#define RTL_CONSTANT_STRING(s)                                                                                         \
    { sizeof(s) - sizeof((s)[0]), sizeof(s), NmrfuzzStringBuffer(s) }
#define DECLARE_CONST_UNICODE_STRING(name, text)                                                                       \
    const WCHAR name##_buffer[] = text;                                                                                \
    const UNICODE_STRING name = {sizeof(text) - sizeof(WCHAR), sizeof(text), (PWCH)name##_buffer}
#define DECLARE_STATIC_CONST_UNICODE_STRING(name, text)                                                                \
    static const WCHAR name##_buffer[] = text;                                                                         \
    static const UNICODE_STRING name = {sizeof(text) - sizeof(WCHAR), sizeof(text), (PWCH)name##_buffer}
#ifdef __cplusplus
#define DECLARE_GLOBAL_CONST_UNICODE_STRING(name, text)                                                                \
    extern const DECLSPEC_SELECTANY UNICODE_STRING name = RTL_CONSTANT_STRING(text)
#else
#define DECLARE_GLOBAL_CONST_UNICODE_STRING(name, text)                                                                \
    const DECLSPEC_SELECTANY UNICODE_STRING name = RTL_CONSTANT_STRING(text)
#endif
#define DECLARE_UNICODE_STRING_SIZE(name, bytes)                                                                       \
    WCHAR name##_buffer[(bytes) / sizeof(WCHAR)];                                                                      \
    UNICODE_STRING name = {0, (bytes), name##_buffer}

NMRFUZZ_INLINE void RtlInitEmptyUnicodeString(PUNICODE_STRING String, PWCHAR Buffer, USHORT BufferSize) {
    String->Length = 0;
    String->MaximumLength = BufferSize;
    String->Buffer = Buffer;
}
NMRFUZZ_INLINE void RtlInitEmptyAnsiString(PANSI_STRING String, PCHAR Buffer, USHORT BufferSize) {
    String->Length = 0;
    String->MaximumLength = BufferSize;
    String->Buffer = Buffer;
}

// Initialise and copy: <= DISPATCH_LEVEL if the buffers are nonpaged. All others: PASSIVE_LEVEL.
void RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString);
void RtlInitAnsiString(PANSI_STRING DestinationString, PCSZ SourceString);
void RtlInitString(PSTRING DestinationString, PCSZ SourceString);
void RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString);
LONG RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive);
BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive);
BOOLEAN RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive);
WCHAR RtlUpcaseUnicodeChar(WCHAR SourceCharacter);
NTSTATUS RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source);
NTSTATUS RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source);
NTSTATUS RtlAnsiStringToUnicodeString(PUNICODE_STRING DestinationString, PCANSI_STRING SourceString,
                                      BOOLEAN AllocateDestinationString);
NTSTATUS RtlUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING SourceString,
                                      BOOLEAN AllocateDestinationString);
void RtlFreeUnicodeString(PUNICODE_STRING UnicodeString);
void RtlFreeAnsiString(PANSI_STRING AnsiString);
NTSTATUS RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String);
NTSTATUS RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value);
NTSTATUS RtlStringFromGUID(REFGUID Guid, PUNICODE_STRING GuidString);
NTSTATUS RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID *Guid);

typedef struct _OSVERSIONINFOW {
    ULONG dwOSVersionInfoSize;
    ULONG dwMajorVersion;
    ULONG dwMinorVersion;
    ULONG dwBuildNumber;
    ULONG dwPlatformId;
    WCHAR szCSDVersion[128];
} OSVERSIONINFOW, *POSVERSIONINFOW, *LPOSVERSIONINFOW, RTL_OSVERSIONINFOW, *PRTL_OSVERSIONINFOW;

typedef struct _OSVERSIONINFOEXW {
    ULONG dwOSVersionInfoSize;
    ULONG dwMajorVersion;
    ULONG dwMinorVersion;
    ULONG dwBuildNumber;
    ULONG dwPlatformId;
    WCHAR szCSDVersion[128];
    USHORT wServicePackMajor;
    USHORT wServicePackMinor;
    USHORT wSuiteMask;
    UCHAR wProductType;
    UCHAR wReserved;
} OSVERSIONINFOEXW, *POSVERSIONINFOEXW, *LPOSVERSIONINFOEXW, RTL_OSVERSIONINFOEXW, *PRTL_OSVERSIONINFOEXW;

// PASSIVE_LEVEL.
NTSTATUS RtlGetVersion(PRTL_OSVERSIONINFOW lpVersionInformation);
NTSTATUS ExUuidCreate(UUID *Uuid);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(RTL_OSVERSIONINFOW) == 276 && sizeof(RTL_OSVERSIONINFOEXW) == 284, "layout");

#endif
