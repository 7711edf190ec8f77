// safe_string.h - bounded copy, concatenation and length of terminated strings, no formatting. PASSIVE_LEVEL.
// STATUS_BUFFER_OVERFLOW: truncated, still terminated. STATUS_INVALID_PARAMETER: a size of zero or too large, or no
// terminator within it. Sources: documentation pages "Safe String Functions": "RtlStringCbCopyW", "RtlStringCchCatA",
// "RtlStringCbLengthW", "RtlStringCbCopyNA", "RtlStringCchCatNW".
// Cb counts bytes, Cch characters.
#ifndef NMRFUZZ_SAFE_STRING_H
#define NMRFUZZ_SAFE_STRING_H

#include "nmrfuzz/status.h"

NMRFUZZ_BEGIN_C

typedef PSTR NTSTRSAFE_PSTR;
typedef PCSTR NTSTRSAFE_PCSTR;
typedef PWSTR NTSTRSAFE_PWSTR;
typedef PCWSTR NTSTRSAFE_PCWSTR;
#define NTSTRSAFE_MAX_CCH 2147483647
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH 32767

// At is where in Target the copy starts; at most Max units of Source are read.
#define NMRFUZZ_STRINGS(s, unit)                                                                                       \
    NMRFUZZ_INLINE NTSTATUS NmrfuzzCopyAt##s(unit *Target, SIZE_T Size, SIZE_T At, const unit *Source, SIZE_T Max) {   \
        SIZE_T i = 0;                                                                                                  \
        while (i < Max && Source[i] != 0) {                                                                            \
            if (At + 1 >= Size) {                                                                                      \
                Target[At] = 0;                                                                                        \
                return STATUS_BUFFER_OVERFLOW;                                                                         \
            }                                                                                                          \
            Target[At++] = Source[i++];                                                                                \
        }                                                                                                              \
        Target[At] = 0;                                                                                                \
        return STATUS_SUCCESS;                                                                                         \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCchLength##s(const unit *Text, SIZE_T Size, SIZE_T *Length) {                     \
        SIZE_T length = 0;                                                                                             \
        if (Text != NULL && Size <= NTSTRSAFE_MAX_CCH) {                                                               \
            while (length < Size && Text[length] != 0) {                                                               \
                ++length;                                                                                              \
            }                                                                                                          \
            if (length < Size) {                                                                                       \
                if (Length != NULL) {                                                                                  \
                    *Length = length;                                                                                  \
                }                                                                                                      \
                return STATUS_SUCCESS;                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
        if (Length != NULL) {                                                                                          \
            *Length = 0;                                                                                               \
        }                                                                                                              \
        return STATUS_INVALID_PARAMETER;                                                                               \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCchCopyN##s(unit *Target, SIZE_T Size, const unit *Source, SIZE_T Max) {          \
        if (Size == 0 || Size > NTSTRSAFE_MAX_CCH) {                                                                   \
            return STATUS_INVALID_PARAMETER;                                                                           \
        }                                                                                                              \
        if (Max > NTSTRSAFE_MAX_CCH) {                                                                                 \
            Target[0] = 0;                                                                                             \
            return STATUS_INVALID_PARAMETER;                                                                           \
        }                                                                                                              \
        return NmrfuzzCopyAt##s(Target, Size, 0, Source, Max);                                                         \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCchCopy##s(unit *Target, SIZE_T Size, const unit *Source) {                       \
        return RtlStringCchCopyN##s(Target, Size, Source, NTSTRSAFE_MAX_CCH);                                          \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCchCatN##s(unit *Target, SIZE_T Size, const unit *Source, SIZE_T Max) {           \
        SIZE_T length;                                                                                                 \
        NTSTATUS status = RtlStringCchLength##s(Target, Size, &length);                                                \
        if (!NT_SUCCESS(status) || Max > NTSTRSAFE_MAX_CCH) {                                                          \
            return STATUS_INVALID_PARAMETER;                                                                           \
        }                                                                                                              \
        return NmrfuzzCopyAt##s(Target, Size, length, Source, Max);                                                    \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCchCat##s(unit *Target, SIZE_T Size, const unit *Source) {                        \
        return RtlStringCchCatN##s(Target, Size, Source, NTSTRSAFE_MAX_CCH);                                           \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCbLength##s(const unit *Text, SIZE_T Size, SIZE_T *Length) {                      \
        NTSTATUS status = RtlStringCchLength##s(Text, Size / sizeof(unit), Length);                                    \
        if (Length != NULL) {                                                                                          \
            *Length *= sizeof(unit);                                                                                   \
        }                                                                                                              \
        return status;                                                                                                 \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCbCopyN##s(unit *Target, SIZE_T Size, const unit *Source, SIZE_T Max) {           \
        return RtlStringCchCopyN##s(Target, Size / sizeof(unit), Source, Max / sizeof(unit));                          \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCbCopy##s(unit *Target, SIZE_T Size, const unit *Source) {                        \
        return RtlStringCchCopy##s(Target, Size / sizeof(unit), Source);                                               \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCbCatN##s(unit *Target, SIZE_T Size, const unit *Source, SIZE_T Max) {            \
        return RtlStringCchCatN##s(Target, Size / sizeof(unit), Source, Max / sizeof(unit));                           \
    }                                                                                                                  \
    NMRFUZZ_INLINE NTSTATUS RtlStringCbCat##s(unit *Target, SIZE_T Size, const unit *Source) {                         \
        return RtlStringCchCat##s(Target, Size / sizeof(unit), Source);                                                \
    }

NMRFUZZ_STRINGS(A, CHAR)
NMRFUZZ_STRINGS(W, WCHAR)
#undef NMRFUZZ_STRINGS

NMRFUZZ_END_C

#endif
