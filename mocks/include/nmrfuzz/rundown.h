// rundown.h - run-down protection, plain and cache-aware.
// Sources: documentation pages "Run-Down Protection", "ExAcquireRundownProtection", "ExReleaseRundownProtection",
// "ExWaitForRundownProtectionRelease", "ExReInitializeRundownProtection", "ExRundownCompleted",
// "ExAllocateCacheAwareRundownProtection".
// IRQL: acquire and release <= DISPATCH_LEVEL; initialise, re-initialise, complete and wait <= APC_LEVEL.
#ifndef NMRFUZZ_RUNDOWN_H
#define NMRFUZZ_RUNDOWN_H

#include "nmrfuzz/pool.h"

NMRFUZZ_BEGIN_C

typedef struct _EX_RUNDOWN_REF {
    union {
        ULONG ObjectNumber; // the simulated kernel's
        ULONG_PTR Count;
        PVOID Ptr;
    };
} EX_RUNDOWN_REF, *PEX_RUNDOWN_REF;

// The Count of an object that a static initialiser leaves run down; no number of an object is in it.
#define EX_RUNDOWN_ACTIVE ((ULONG_PTR)1 << 63)

typedef struct _EX_RUNDOWN_REF_CACHE_AWARE EX_RUNDOWN_REF_CACHE_AWARE, *PEX_RUNDOWN_REF_CACHE_AWARE;
#ifdef NMRFUZZ_MOCK
struct _EX_RUNDOWN_REF_CACHE_AWARE {
    ULONG ObjectNumber;
    ULONG Reserved;
    PVOID Reserved2;
};
#endif

void ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef);
void ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef);
BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef);
BOOLEAN ExAcquireRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count);
void ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef);
void ExReleaseRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count);
void ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef);
void ExRundownCompleted(PEX_RUNDOWN_REF RunRef);

PEX_RUNDOWN_REF_CACHE_AWARE ExAllocateCacheAwareRundownProtection(POOL_TYPE PoolType, ULONG PoolTag);
void ExFreeCacheAwareRundownProtection(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware);
SIZE_T ExSizeOfRundownProtectionCacheAware(void);
void ExInitializeRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware, SIZE_T RunRefSize);
void ExReInitializeRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware);
BOOLEAN ExAcquireRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware);
BOOLEAN ExAcquireRundownProtectionCacheAwareEx(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware, ULONG Count);
void ExReleaseRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware);
void ExReleaseRundownProtectionCacheAwareEx(PEX_RUNDOWN_REF_CACHE_AWARE RunRef, ULONG Count);
void ExWaitForRundownProtectionReleaseCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRef);
void ExRundownCompletedCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(EX_RUNDOWN_REF) == 8, "layout");

#endif
