// safe_int.h - checked arithmetic and conversions. Any IRQL. STATUS_INTEGER_OVERFLOW, and all bits of the result set,
// when a result does not fit. Sources: documentation pages "Safe Integer Functions" (ntintsafe.h): "RtlULongAdd", ...
#ifndef NMRFUZZ_SAFE_INT_H
#define NMRFUZZ_SAFE_INT_H

#include "nmrfuzz/status.h"

NMRFUZZ_BEGIN_C

#define NMRFUZZ_SAFE_OPERATION(name, type, builtin)                                                                    \
    NMRFUZZ_INLINE NTSTATUS name(type a, type b, type *Result) {                                                       \
        type result;                                                                                                   \
        if (builtin(a, b, &result)) {                                                                                  \
            *Result = (type)-1;                                                                                        \
            return STATUS_INTEGER_OVERFLOW;                                                                            \
        }                                                                                                              \
        *Result = result;                                                                                              \
        return STATUS_SUCCESS;                                                                                         \
    }
#define NMRFUZZ_SAFE_ARITHMETIC(word, type)                                                                            \
    NMRFUZZ_SAFE_OPERATION(Rtl##word##Add, type, __builtin_add_overflow)                                               \
    NMRFUZZ_SAFE_OPERATION(Rtl##word##Sub, type, __builtin_sub_overflow)                                               \
    NMRFUZZ_SAFE_OPERATION(Rtl##word##Mult, type, __builtin_mul_overflow)
#define NMRFUZZ_SAFE_CONVERSION(from, from_type, to, to_type)                                                          \
    NMRFUZZ_INLINE NTSTATUS Rtl##from##To##to(from_type Operand, to_type *Result) {                                    \
        to_type result;                                                                                                \
        if (__builtin_add_overflow(Operand, (from_type)0, &result)) {                                                  \
            *Result = (to_type)-1;                                                                                     \
            return STATUS_INTEGER_OVERFLOW;                                                                            \
        }                                                                                                              \
        *Result = result;                                                                                              \
        return STATUS_SUCCESS;                                                                                         \
    }

NMRFUZZ_SAFE_ARITHMETIC(UInt8, UINT8)
NMRFUZZ_SAFE_ARITHMETIC(UShort, USHORT)
NMRFUZZ_SAFE_ARITHMETIC(UInt, UINT)
NMRFUZZ_SAFE_ARITHMETIC(ULong, ULONG)
NMRFUZZ_SAFE_ARITHMETIC(ULongLong, ULONGLONG)
NMRFUZZ_SAFE_ARITHMETIC(ULongPtr, ULONG_PTR)
NMRFUZZ_SAFE_ARITHMETIC(SizeT, SIZE_T)
NMRFUZZ_SAFE_ARITHMETIC(Int, INT)
NMRFUZZ_SAFE_ARITHMETIC(Long, LONG)
NMRFUZZ_SAFE_ARITHMETIC(LongLong, LONGLONG)
#define RtlUInt16Add RtlUShortAdd
#define RtlUInt16Sub RtlUShortSub
#define RtlUInt16Mult RtlUShortMult
#define RtlUInt32Add RtlUIntAdd
#define RtlUInt32Sub RtlUIntSub
#define RtlUInt32Mult RtlUIntMult
#define RtlUInt64Add RtlULongLongAdd
#define RtlUInt64Sub RtlULongLongSub
#define RtlUInt64Mult RtlULongLongMult

NMRFUZZ_SAFE_CONVERSION(SizeT, SIZE_T, UInt8, UINT8)
NMRFUZZ_SAFE_CONVERSION(SizeT, SIZE_T, UShort, USHORT)
NMRFUZZ_SAFE_CONVERSION(SizeT, SIZE_T, UInt, UINT)
NMRFUZZ_SAFE_CONVERSION(SizeT, SIZE_T, ULong, ULONG)
NMRFUZZ_SAFE_CONVERSION(SizeT, SIZE_T, Long, LONG)
NMRFUZZ_SAFE_CONVERSION(ULongLong, ULONGLONG, ULong, ULONG)
NMRFUZZ_SAFE_CONVERSION(ULongLong, ULONGLONG, UShort, USHORT)
NMRFUZZ_SAFE_CONVERSION(ULongLong, ULONGLONG, SizeT, SIZE_T)
NMRFUZZ_SAFE_CONVERSION(ULongPtr, ULONG_PTR, ULong, ULONG)
NMRFUZZ_SAFE_CONVERSION(ULong, ULONG, UShort, USHORT)
NMRFUZZ_SAFE_CONVERSION(ULong, ULONG, UInt8, UINT8)
NMRFUZZ_SAFE_CONVERSION(ULong, ULONG, UChar, UCHAR)
NMRFUZZ_SAFE_CONVERSION(ULong, ULONG, Long, LONG)
NMRFUZZ_SAFE_CONVERSION(Long, LONG, ULong, ULONG)
NMRFUZZ_SAFE_CONVERSION(LongLong, LONGLONG, ULong, ULONG)
NMRFUZZ_SAFE_CONVERSION(LongLong, LONGLONG, Long, LONG)
NMRFUZZ_SAFE_CONVERSION(LongLong, LONGLONG, ULongLong, ULONGLONG)
NMRFUZZ_SAFE_CONVERSION(ULongLong, ULONGLONG, LongLong, LONGLONG)

#undef NMRFUZZ_SAFE_OPERATION
#undef NMRFUZZ_SAFE_ARITHMETIC
#undef NMRFUZZ_SAFE_CONVERSION

NMRFUZZ_END_C

#endif
