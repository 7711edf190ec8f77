// intrinsics.h - the compiler intrinsics that drivers use: interlocked names, bit scans, byte swaps, barriers.
// Sources: documentation page "Compiler intrinsics" and its sub-pages.
#ifndef NMRFUZZ_INTRINSICS_H
#define NMRFUZZ_INTRINSICS_H

#include "nmrfuzz/debug.h"
#include "nmrfuzz/interlocked.h"
#include "nmrfuzz/interlocked_long.h"

NMRFUZZ_BEGIN_C

NMRFUZZ_INLINE UCHAR NmrfuzzBitScanForward(ULONG *Index, ULONG Mask) {
    if (Mask != 0) {
        *Index = (ULONG)__builtin_ctz(Mask);
    }
    return (UCHAR)(Mask != 0);
}
NMRFUZZ_INLINE UCHAR NmrfuzzBitScanReverse(ULONG *Index, ULONG Mask) {
    if (Mask != 0) {
        *Index = 31u - (ULONG)__builtin_clz(Mask);
    }
    return (UCHAR)(Mask != 0);
}
NMRFUZZ_INLINE UCHAR NmrfuzzBitScanForward64(ULONG *Index, ULONG64 Mask) {
    if (Mask != 0) {
        *Index = (ULONG)__builtin_ctzll(Mask);
    }
    return (UCHAR)(Mask != 0);
}
NMRFUZZ_INLINE UCHAR NmrfuzzBitScanReverse64(ULONG *Index, ULONG64 Mask) {
    if (Mask != 0) {
        *Index = 63u - (ULONG)__builtin_clzll(Mask);
    }
    return (UCHAR)(Mask != 0);
}

#ifndef NMRFUZZ_MOCK
#define _BitScanForward NmrfuzzBitScanForward
#define _BitScanReverse NmrfuzzBitScanReverse
#define _BitScanForward64 NmrfuzzBitScanForward64
#define _BitScanReverse64 NmrfuzzBitScanReverse64
#define BitScanForward NmrfuzzBitScanForward
#define BitScanReverse NmrfuzzBitScanReverse
#define BitScanForward64 NmrfuzzBitScanForward64
#define BitScanReverse64 NmrfuzzBitScanReverse64
#define __popcnt(x) ((ULONG)__builtin_popcount(x))
#define __popcnt64(x) ((ULONG64)__builtin_popcountll(x))
#define _byteswap_ushort(x) __builtin_bswap16(x)
#define _byteswap_ulong(x) __builtin_bswap32(x)
#define _byteswap_uint64(x) __builtin_bswap64(x)
#define _ReadWriteBarrier() __asm__ volatile("" ::: "memory")
#define _ReadBarrier() __asm__ volatile("" ::: "memory")
#define _WriteBarrier() __asm__ volatile("" ::: "memory")
#define _mm_pause YieldProcessor
#define _mm_mfence KeMemoryBarrier
#define _ReturnAddress() __builtin_return_address(0)
#endif

NMRFUZZ_END_C

#endif
