// pool.h - pool memory and lookaside lists.
// Sources: documentation pages "ExAllocatePool2", "POOL_FLAGS", "ExAllocatePoolZero", "ExAllocatePoolUninitialized",
// "ExAllocatePoolWithTag", "POOL_TYPE", "ExFreePoolWithTag", "Using Lookaside Lists", "ExInitializeLookasideListEx".
// IRQL: <= DISPATCH_LEVEL for nonpaged memory, <= APC_LEVEL for paged memory.
#ifndef NMRFUZZ_POOL_H
#define NMRFUZZ_POOL_H

#include "nmrfuzz/slist.h"

NMRFUZZ_BEGIN_C

typedef enum _POOL_TYPE {
    NonPagedPool = 0,
    NonPagedPoolExecute = NonPagedPool,
    PagedPool = 1,
    NonPagedPoolMustSucceed = 2,
    DontUseThisType = 3,
    NonPagedPoolCacheAligned = 4,
    PagedPoolCacheAligned = 5,
    NonPagedPoolCacheAlignedMustS = 6,
    MaxPoolType = 7,
    NonPagedPoolBase = 0,
    NonPagedPoolBaseMustSucceed = 2,
    NonPagedPoolBaseCacheAligned = 4,
    NonPagedPoolBaseCacheAlignedMustS = 6,
    NonPagedPoolSession = 32,
    PagedPoolSession = 33,
    NonPagedPoolNx = 512,
    NonPagedPoolNxCacheAligned = 516,
    NonPagedPoolSessionNx = 544
} POOL_TYPE;

#define POOL_COLD_ALLOCATION 256
#define POOL_NX_ALLOCATION 512
#define POOL_ZERO_ALLOCATION 1024
#define POOL_QUOTA_FAIL_INSTEAD_OF_RAISE 8
#define POOL_RAISE_IF_ALLOCATION_FAILURE 16

typedef ULONG64 POOL_FLAGS;
#define POOL_FLAG_USE_QUOTA ((POOL_FLAGS)0x1)
#define POOL_FLAG_UNINITIALIZED ((POOL_FLAGS)0x2)
#define POOL_FLAG_SESSION ((POOL_FLAGS)0x4)
#define POOL_FLAG_CACHE_ALIGNED ((POOL_FLAGS)0x8)
#define POOL_FLAG_RAISE_ON_FAILURE ((POOL_FLAGS)0x20)
#define POOL_FLAG_NON_PAGED ((POOL_FLAGS)0x40)
#define POOL_FLAG_NON_PAGED_EXECUTE ((POOL_FLAGS)0x80)
#define POOL_FLAG_PAGED ((POOL_FLAGS)0x100)
#define POOL_FLAG_SPECIAL_POOL ((POOL_FLAGS)0x100000000)

PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
PVOID ExAllocatePoolZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
PVOID ExAllocatePoolUninitialized(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
PVOID ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
void ExFreePool(PVOID P);
void ExFreePoolWithTag(PVOID P, ULONG Tag);

#define DrvRtPoolNxOptIn 0x00000001
NMRFUZZ_INLINE void ExInitializeDriverRuntime(ULONG RuntimeFlags) { (void)RuntimeFlags; }

// Lookaside lists. Initialise and delete: <= DISPATCH_LEVEL (a paged list: <= APC_LEVEL); so too allocate and free.
typedef PVOID NTAPI ALLOCATE_FUNCTION(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
typedef ALLOCATE_FUNCTION *PALLOCATE_FUNCTION;
typedef void NTAPI FREE_FUNCTION(PVOID Buffer);
typedef FREE_FUNCTION *PFREE_FUNCTION;

struct _LOOKASIDE_LIST_EX;
typedef PVOID NTAPI ALLOCATE_FUNCTION_EX(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                         struct _LOOKASIDE_LIST_EX *Lookaside);
typedef ALLOCATE_FUNCTION_EX *PALLOCATE_FUNCTION_EX;
typedef void NTAPI FREE_FUNCTION_EX(PVOID Buffer, struct _LOOKASIDE_LIST_EX *Lookaside);
typedef FREE_FUNCTION_EX *PFREE_FUNCTION_EX;

typedef struct _LOOKASIDE_LIST_EX {
    SLIST_HEADER Reserved1;
    ULONG ObjectNumber; // the simulated kernel's
    POOL_TYPE Type;
    ULONG Tag;
    ULONG Size;
    PVOID Reserved2[8];
} LOOKASIDE_LIST_EX, *PLOOKASIDE_LIST_EX;

typedef struct _NPAGED_LOOKASIDE_LIST {
    LOOKASIDE_LIST_EX L;
    PVOID Reserved[4];
} NPAGED_LOOKASIDE_LIST, *PNPAGED_LOOKASIDE_LIST;

typedef struct _PAGED_LOOKASIDE_LIST {
    LOOKASIDE_LIST_EX L;
    PVOID Reserved[4];
} PAGED_LOOKASIDE_LIST, *PPAGED_LOOKASIDE_LIST;

#define EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL 0x00000001
#define EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE 0x00000002

void ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
                                     PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag, USHORT Depth);
void ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside);
PVOID ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside);
void ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry);

void ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate, PFREE_FUNCTION Free,
                                    ULONG Flags, SIZE_T Size, ULONG Tag, USHORT Depth);
void ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside);
PVOID ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside);
void ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry);

NTSTATUS ExInitializeLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PALLOCATE_FUNCTION_EX Allocate,
                                     PFREE_FUNCTION_EX Free, POOL_TYPE PoolType, ULONG Flags, SIZE_T Size, ULONG Tag,
                                     USHORT Depth);
void ExDeleteLookasideListEx(PLOOKASIDE_LIST_EX Lookaside);
void ExFlushLookasideListEx(PLOOKASIDE_LIST_EX Lookaside);
PVOID ExAllocateFromLookasideListEx(PLOOKASIDE_LIST_EX Lookaside);
void ExFreeToLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Entry);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(LOOKASIDE_LIST_EX) == 96, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(NPAGED_LOOKASIDE_LIST) == 128 && sizeof(PAGED_LOOKASIDE_LIST) == 128, "layout");

#endif
