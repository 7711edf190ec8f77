// interlocked.h - interlocked operations, ordered reads and writes, barriers. IRQL: any. Each is a scheduling point.
// Sources: documentation pages "InterlockedIncrement", "InterlockedCompareExchange", "Interlocked Variable Access",
// "ReadAcquire", "ReadNoFence", "WriteRelease", "KeMemoryBarrier", "YieldProcessor".
// Increment, Decrement and Add return the new value, all others the old one. The extern base set is sequentially
// consistent; weaker forms are other names for it, except the ordered reads and writes, which have their own functions.
#ifndef NMRFUZZ_INTERLOCKED_H
#define NMRFUZZ_INTERLOCKED_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

LONG InterlockedIncrement(LONG volatile *Addend);
LONG InterlockedDecrement(LONG volatile *Addend);
LONG InterlockedExchange(LONG volatile *Target, LONG Value);
LONG InterlockedCompareExchange(LONG volatile *Destination, LONG ExChange, LONG Comperand);
LONG InterlockedExchangeAdd(LONG volatile *Addend, LONG Value);
LONG InterlockedAnd(LONG volatile *Destination, LONG Value);
LONG InterlockedOr(LONG volatile *Destination, LONG Value);
LONG InterlockedXor(LONG volatile *Destination, LONG Value);

LONG64 InterlockedIncrement64(LONG64 volatile *Addend);
LONG64 InterlockedDecrement64(LONG64 volatile *Addend);
LONG64 InterlockedExchange64(LONG64 volatile *Target, LONG64 Value);
LONG64 InterlockedCompareExchange64(LONG64 volatile *Destination, LONG64 ExChange, LONG64 Comperand);
LONG64 InterlockedExchangeAdd64(LONG64 volatile *Addend, LONG64 Value);
LONG64 InterlockedAnd64(LONG64 volatile *Destination, LONG64 Value);
LONG64 InterlockedOr64(LONG64 volatile *Destination, LONG64 Value);
LONG64 InterlockedXor64(LONG64 volatile *Destination, LONG64 Value);

SHORT InterlockedIncrement16(SHORT volatile *Addend);
SHORT InterlockedDecrement16(SHORT volatile *Addend);
SHORT InterlockedExchange16(SHORT volatile *Target, SHORT Value);
SHORT InterlockedCompareExchange16(SHORT volatile *Destination, SHORT ExChange, SHORT Comperand);
SHORT InterlockedExchangeAdd16(SHORT volatile *Addend, SHORT Value);
SHORT InterlockedAnd16(SHORT volatile *Destination, SHORT Value);
SHORT InterlockedOr16(SHORT volatile *Destination, SHORT Value);
SHORT InterlockedXor16(SHORT volatile *Destination, SHORT Value);

CHAR InterlockedExchange8(CHAR volatile *Target, CHAR Value);
CHAR InterlockedCompareExchange8(CHAR volatile *Destination, CHAR ExChange, CHAR Comperand);
CHAR InterlockedExchangeAdd8(CHAR volatile *Addend, CHAR Value);
CHAR InterlockedAnd8(CHAR volatile *Destination, CHAR Value);
CHAR InterlockedOr8(CHAR volatile *Destination, CHAR Value);
CHAR InterlockedXor8(CHAR volatile *Destination, CHAR Value);

PVOID InterlockedExchangePointer(PVOID volatile *Target, PVOID Value);
PVOID InterlockedCompareExchangePointer(PVOID volatile *Destination, PVOID ExChange, PVOID Comperand);

CHAR ReadAcquire8(CHAR const volatile *Source);
CHAR ReadNoFence8(CHAR const volatile *Source);
SHORT ReadAcquire16(SHORT const volatile *Source);
SHORT ReadNoFence16(SHORT const volatile *Source);
LONG ReadAcquire(LONG const volatile *Source);
LONG ReadNoFence(LONG const volatile *Source);
LONG64 ReadAcquire64(LONG64 const volatile *Source);
LONG64 ReadNoFence64(LONG64 const volatile *Source);
PVOID ReadPointerAcquire(PVOID const volatile *Source);
PVOID ReadPointerNoFence(PVOID const volatile *Source);
void WriteRelease8(CHAR volatile *Destination, CHAR Value);
void WriteNoFence8(CHAR volatile *Destination, CHAR Value);
void WriteRelease16(SHORT volatile *Destination, SHORT Value);
void WriteNoFence16(SHORT volatile *Destination, SHORT Value);
void WriteRelease(LONG volatile *Destination, LONG Value);
void WriteNoFence(LONG volatile *Destination, LONG Value);
void WriteRelease64(LONG64 volatile *Destination, LONG64 Value);
void WriteNoFence64(LONG64 volatile *Destination, LONG64 Value);
void WritePointerRelease(PVOID volatile *Destination, PVOID Value);
void WritePointerNoFence(PVOID volatile *Destination, PVOID Value);

void KeMemoryBarrier(void);
void YieldProcessor(void);

#define MemoryBarrier() KeMemoryBarrier()
#define KeMemoryBarrierWithoutFence() __asm__ volatile("" ::: "memory")

// Derived forms.
NMRFUZZ_INLINE LONG InterlockedAdd(LONG volatile *Addend, LONG Value) {
    return (LONG)((ULONG)InterlockedExchangeAdd(Addend, Value) + (ULONG)Value);
}
NMRFUZZ_INLINE LONG64 InterlockedAdd64(LONG64 volatile *Addend, LONG64 Value) {
    return (LONG64)((ULONG64)InterlockedExchangeAdd64(Addend, Value) + (ULONG64)Value);
}
NMRFUZZ_INLINE BOOLEAN InterlockedBitTestAndSet(LONG volatile *Base, LONG Bit) {
    LONG mask = (LONG)(1u << (Bit & 31));
    return (BOOLEAN)((InterlockedOr(Base + Bit / 32, mask) & mask) != 0);
}
NMRFUZZ_INLINE BOOLEAN InterlockedBitTestAndReset(LONG volatile *Base, LONG Bit) {
    LONG mask = (LONG)(1u << (Bit & 31));
    return (BOOLEAN)((InterlockedAnd(Base + Bit / 32, ~mask) & mask) != 0);
}
NMRFUZZ_INLINE BOOLEAN InterlockedBitTestAndSet64(LONG64 volatile *Base, LONG64 Bit) {
    LONG64 mask = (LONG64)((ULONG64)1 << (Bit & 63));
    return (BOOLEAN)((InterlockedOr64(Base + Bit / 64, mask) & mask) != 0);
}
NMRFUZZ_INLINE BOOLEAN InterlockedBitTestAndReset64(LONG64 volatile *Base, LONG64 Bit) {
    LONG64 mask = (LONG64)((ULONG64)1 << (Bit & 63));
    return (BOOLEAN)((InterlockedAnd64(Base + Bit / 64, ~mask) & mask) != 0);
}

#define InterlockedIncrementSizeT(p) ((SIZE_T)InterlockedIncrement64((LONG64 volatile *)(p)))
#define InterlockedDecrementSizeT(p) ((SIZE_T)InterlockedDecrement64((LONG64 volatile *)(p)))
#define InterlockedAddSizeT(p, v) ((SIZE_T)InterlockedAdd64((LONG64 volatile *)(p), (LONG64)(v)))
#define InterlockedExchangeAddSizeT(p, v) ((SIZE_T)InterlockedExchangeAdd64((LONG64 volatile *)(p), (LONG64)(v)))

// ReadULongAcquire and its kin: the unsigned and the remaining names, by width.
#define NMRFUZZ_READ(name, type, base, width)                                                                          \
    NMRFUZZ_INLINE type name(type const volatile *Source) { return (type)base((width const volatile *)Source); }
#define NMRFUZZ_WRITE(name, type, base, width)                                                                         \
    NMRFUZZ_INLINE void name(type volatile *Destination, type Value) {                                                 \
        base((width volatile *)Destination, (width)Value);                                                             \
    }
#define NMRFUZZ_READ_WRITE(word, type, suffix, width)                                                                  \
    NMRFUZZ_READ(Read##word##Acquire, type, ReadAcquire##suffix, width)                                                \
    NMRFUZZ_READ(Read##word##NoFence, type, ReadNoFence##suffix, width)                                                \
    NMRFUZZ_READ(Read##word##Raw, type, ReadNoFence##suffix, width)                                                    \
    NMRFUZZ_WRITE(Write##word##Release, type, WriteRelease##suffix, width)                                             \
    NMRFUZZ_WRITE(Write##word##NoFence, type, WriteNoFence##suffix, width)                                             \
    NMRFUZZ_WRITE(Write##word##Raw, type, WriteNoFence##suffix, width)
NMRFUZZ_READ_WRITE(Boolean, BOOLEAN, 8, CHAR)
NMRFUZZ_READ_WRITE(UChar, UCHAR, 8, CHAR)
NMRFUZZ_READ_WRITE(UShort, USHORT, 16, SHORT)
NMRFUZZ_READ_WRITE(ULong, ULONG, , LONG)
NMRFUZZ_READ_WRITE(ULong64, ULONG64, 64, LONG64)
NMRFUZZ_READ_WRITE(UInt8, UINT8, 8, CHAR)
NMRFUZZ_READ_WRITE(UInt16, UINT16, 16, SHORT)
NMRFUZZ_READ_WRITE(UInt32, UINT32, , LONG)
NMRFUZZ_READ_WRITE(UInt64, UINT64, 64, LONG64)
NMRFUZZ_READ_WRITE(Int8, INT8, 8, CHAR)
NMRFUZZ_READ_WRITE(Int16, INT16, 16, SHORT)
NMRFUZZ_READ_WRITE(Int32, INT32, , LONG)
NMRFUZZ_READ_WRITE(Int64, INT64, 64, LONG64)
#undef NMRFUZZ_READ
#undef NMRFUZZ_WRITE
#undef NMRFUZZ_READ_WRITE

#define ReadRaw(p) ReadNoFence(p)
#define ReadRaw8(p) ReadNoFence8(p)
#define ReadRaw16(p) ReadNoFence16(p)
#define ReadRaw64(p) ReadNoFence64(p)
#define ReadPointerRaw(p) ReadPointerNoFence(p)
#define WriteRaw(p, v) WriteNoFence(p, v)
#define WriteRaw8(p, v) WriteNoFence8(p, v)
#define WriteRaw16(p, v) WriteNoFence16(p, v)
#define WriteRaw64(p, v) WriteNoFence64(p, v)
#define WritePointerRaw(p, v) WritePointerNoFence(p, v)

NMRFUZZ_END_C

#include "nmrfuzz/interlocked_names.h"

#endif
