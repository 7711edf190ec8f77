// wide.h - the C runtime's wide-string names over 16-bit units, for modules. Any IRQL.
// Sources: documentation pages "wcslen", "wcsnlen", "wcscmp", "wcsncmp", "wcschr", "wcsrchr", "wcsstr".
#ifndef NMRFUZZ_WIDE_H
#define NMRFUZZ_WIDE_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

NMRFUZZ_INLINE SIZE_T NmrfuzzWcsnlen(const WCHAR *Text, SIZE_T Max) {
    SIZE_T length = 0;
    while (length < Max && Text[length] != 0) {
        ++length;
    }
    return length;
}
NMRFUZZ_INLINE SIZE_T NmrfuzzWcslen(const WCHAR *Text) { return NmrfuzzWcsnlen(Text, ~(SIZE_T)0); }
NMRFUZZ_INLINE int NmrfuzzWcsncmp(const WCHAR *A, const WCHAR *B, SIZE_T Max) {
    SIZE_T i;
    for (i = 0; i < Max; ++i) {
        if (A[i] != B[i]) {
            return A[i] < B[i] ? -1 : 1;
        }
        if (A[i] == 0) {
            break;
        }
    }
    return 0;
}
NMRFUZZ_INLINE int NmrfuzzWcscmp(const WCHAR *A, const WCHAR *B) { return NmrfuzzWcsncmp(A, B, ~(SIZE_T)0); }
NMRFUZZ_INLINE WCHAR *NmrfuzzWcschr(const WCHAR *Text, WCHAR Unit) {
    for (; *Text != Unit; ++Text) {
        if (*Text == 0) {
            return NULL;
        }
    }
    return (WCHAR *)Text;
}
NMRFUZZ_INLINE WCHAR *NmrfuzzWcsrchr(const WCHAR *Text, WCHAR Unit) {
    const WCHAR *found = NULL;
    for (;; ++Text) {
        if (*Text == Unit) {
            found = Text;
        }
        if (*Text == 0) {
            return (WCHAR *)found;
        }
    }
}
NMRFUZZ_INLINE WCHAR *NmrfuzzWcsstr(const WCHAR *Text, const WCHAR *Part) {
    SIZE_T length = NmrfuzzWcslen(Part);
    for (;; ++Text) {
        if (NmrfuzzWcsncmp(Text, Part, length) == 0) {
            return (WCHAR *)Text;
        }
        if (*Text == 0) {
            return NULL;
        }
    }
}

#ifndef NMRFUZZ_MOCK
#define wcslen NmrfuzzWcslen
#define wcsnlen NmrfuzzWcsnlen
#define wcscmp NmrfuzzWcscmp
#define wcsncmp NmrfuzzWcsncmp
#define wcschr NmrfuzzWcschr
#define wcsrchr NmrfuzzWcsrchr
#define wcsstr NmrfuzzWcsstr
#endif

NMRFUZZ_END_C

#endif
