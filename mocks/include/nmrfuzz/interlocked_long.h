// interlocked_long.h - C++ only: MSVC's LONG is its long, so C++ drivers pass "long volatile *" to the 32-bit
// functions. Linux's long has 64 bits; these overloads do the same operation at that width.
// Source: the LLP64 data model of the Windows documentation, where long has 32 bits.
#ifndef NMRFUZZ_INTERLOCKED_LONG_H
#define NMRFUZZ_INTERLOCKED_LONG_H

#include "nmrfuzz/interlocked.h"

#if defined(__cplusplus) && !defined(NMRFUZZ_MOCK)
extern "C++" {
NMRFUZZ_INLINE long InterlockedIncrement(long volatile *p) { return InterlockedIncrement64(p); }
NMRFUZZ_INLINE long InterlockedDecrement(long volatile *p) { return InterlockedDecrement64(p); }
NMRFUZZ_INLINE long InterlockedExchange(long volatile *p, long v) { return InterlockedExchange64(p, v); }
NMRFUZZ_INLINE long InterlockedExchangeAdd(long volatile *p, long v) { return InterlockedExchangeAdd64(p, v); }
NMRFUZZ_INLINE long InterlockedAdd(long volatile *p, long v) { return InterlockedAdd64(p, v); }
NMRFUZZ_INLINE long InterlockedAnd(long volatile *p, long v) { return InterlockedAnd64(p, v); }
NMRFUZZ_INLINE long InterlockedOr(long volatile *p, long v) { return InterlockedOr64(p, v); }
NMRFUZZ_INLINE long InterlockedXor(long volatile *p, long v) { return InterlockedXor64(p, v); }
NMRFUZZ_INLINE long InterlockedCompareExchange(long volatile *p, long exchange, long comperand) {
    return InterlockedCompareExchange64(p, exchange, comperand);
}
NMRFUZZ_INLINE long ReadAcquire(long const volatile *p) { return ReadAcquire64(p); }
NMRFUZZ_INLINE long ReadNoFence(long const volatile *p) { return ReadNoFence64(p); }
NMRFUZZ_INLINE void WriteRelease(long volatile *p, long v) { WriteRelease64(p, v); }
NMRFUZZ_INLINE void WriteNoFence(long volatile *p, long v) { WriteNoFence64(p, v); }
}
#endif

#endif
