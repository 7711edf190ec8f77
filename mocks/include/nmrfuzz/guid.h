// guid.h - GUID and comparisons. DEFINE_GUID lives in guiddef.h, which looks at INITGUID at each inclusion.
// Sources: documentation pages "Using GUIDs in Drivers", "Including GUIDs in Driver Code", "GUID structure", "IsEqualGUID".
#ifndef NMRFUZZ_GUID_H
#define NMRFUZZ_GUID_H

#include "nmrfuzz/types.h"

#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
    ULONG Data1;
    USHORT Data2;
    USHORT Data3;
    UCHAR Data4[8];
} GUID;
#endif
typedef GUID UUID, IID, CLSID, *LPGUID, *PGUID;
typedef const GUID *LPCGUID, *PCGUID;

NMRFUZZ_STATIC_ASSERT(sizeof(GUID) == 16, "layout");

#ifdef __cplusplus
extern "C++" {
typedef const GUID &REFGUID;
typedef const IID &REFIID;
NMRFUZZ_INLINE int IsEqualGUID(REFGUID a, REFGUID b) { return __builtin_memcmp(&a, &b, sizeof(GUID)) == 0; }
NMRFUZZ_INLINE int InlineIsEqualGUID(REFGUID a, REFGUID b) { return __builtin_memcmp(&a, &b, sizeof(GUID)) == 0; }
NMRFUZZ_INLINE bool operator==(const GUID &a, const GUID &b) { return __builtin_memcmp(&a, &b, sizeof(GUID)) == 0; }
}
#else
#define REFGUID const GUID *
#define REFIID const IID *
#define IsEqualGUID(a, b) (__builtin_memcmp((a), (b), sizeof(GUID)) == 0)
#define InlineIsEqualGUID(a, b) (__builtin_memcmp((a), (b), sizeof(GUID)) == 0)
#endif
#define IsEqualIID(a, b) IsEqualGUID(a, b)
#define IsEqualCLSID(a, b) IsEqualGUID(a, b)

#endif
