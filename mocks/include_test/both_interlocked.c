// both_interlocked.c - every interlocked family, its weaker names and the compiler's names.
// flags: -Wall -Wextra -Werror
#include <ntddk.h>
#include <intrin.h>

EXTERN_C LONG64 Interlocked(volatile LONG *l, volatile LONG64 *q, volatile SHORT *s, volatile CHAR *c, PVOID volatile *p);
LONG64 Interlocked(volatile LONG *l, volatile LONG64 *q, volatile SHORT *s, volatile CHAR *c, PVOID volatile *p) {
    ULONG index = 0;
    LONG64 sum = 0;
    SIZE_T size = 0;
    BOOLEAN flag = FALSE;
    SLIST_HEADER head;
    sum += InterlockedIncrement(l) + InterlockedDecrementNoFence(l) + InterlockedExchangeAcquire(l, 1);
    sum += InterlockedCompareExchangeRelease(l, 1, 2) + InterlockedExchangeAdd(l, 1) + InterlockedAdd(l, 1);
    sum += InterlockedAnd(l, 1) + InterlockedOrNoFence(l, 1) + InterlockedXor(l, 1) + InterlockedIncrementNoFence64(q);
    sum += InterlockedIncrement64(q) + InterlockedAdd64(q, 2) + InterlockedCompareExchange64(q, 1, 2) + _InterlockedOr64(q, 1);
    sum += InterlockedIncrement16(s) + InterlockedCompareExchange16(s, 1, 2) + InterlockedOr8(c, 1) + InterlockedExchange8(c, 2);
    sum += _InterlockedIncrement(l) + _InterlockedExchangeAdd(l, 3) + _InterlockedCompareExchange(l, 1, 2);
    sum += InterlockedBitTestAndSet(l, 3) + InterlockedBitTestAndReset64(q, 40) + _interlockedbittestandset(l, 2);
    InterlockedExchangePointer(p, InterlockedCompareExchangePointerNoFence(p, NULL, NULL));
    InterlockedIncrementSizeT(&size);
    sum += ReadNoFence(l) + ReadAcquire64(q) + (LONG64)ReadSizeTNoFence(&size) + ReadBooleanAcquire(&flag);
    WriteRelease(l, 1);
    WriteNoFence64(q, 2);
    WritePointerRelease(p, ReadPointerAcquire(p));
    WriteULongRelease((volatile ULONG *)l, ReadULongAcquire((volatile ULONG *)l));
    WriteULong64NoFence((volatile ULONG64 *)q, ReadULong64NoFence((volatile ULONG64 *)q));
    WriteUInt32Release((volatile UINT32 *)l, ReadUInt32Acquire((volatile UINT32 *)l));
    MemoryBarrier();
    KeMemoryBarrier();
    YieldProcessor();
    _ReadWriteBarrier();
    _mm_pause();
    InitializeSListHead(&head);
    ExInterlockedFlushSList(&head);
    return sum + (_BitScanReverse64(&index, 8) ? (LONG64)index : 0) + (LONG64)RtlUlongByteSwap(1u);
}
