// macros.h - helper macros that need no kernel: records, sizes, alignment, pointer conversions, limits, flags.
// Sources: documentation pages "CONTAINING_RECORD", "FIELD_OFFSET", "RTL_FIELD_SIZE", "RTL_CONTAINS_FIELD",
// "ROUND_TO_PAGES", "InitializeObjectAttributes", "Rules for Using Pointers".
#ifndef NMRFUZZ_MACROS_H
#define NMRFUZZ_MACROS_H

#include "nmrfuzz/types.h"

#define FIELD_OFFSET(type, field) ((LONG)__builtin_offsetof(type, field))
#define UFIELD_OFFSET(type, field) ((ULONG)__builtin_offsetof(type, field))
#define CONTAINING_RECORD(address, type, field) ((type *)((char *)(address)-__builtin_offsetof(type, field)))

#define RTL_FIELD_SIZE(type, field) (sizeof(((type *)0)->field))
#define RTL_FIELD_TYPE(type, field) (((type *)0)->field)
#define RTL_SIZEOF_THROUGH_FIELD(type, field) (__builtin_offsetof(type, field) + RTL_FIELD_SIZE(type, field))
#define RTL_CONTAINS_FIELD(record, size, field)                                                                        \
    ((((PCHAR)(&(record)->field)) + sizeof((record)->field)) <= (((PCHAR)(record)) + (size)))
#define RTL_NUMBER_OF(a) (sizeof(a) / sizeof((a)[0]))
#define RTL_NUMBER_OF_FIELD(type, field) (RTL_NUMBER_OF(((type *)0)->field))
#ifndef ARRAYSIZE
#define ARRAYSIZE(a) RTL_NUMBER_OF(a)
#endif
#ifndef _countof
#define _countof(a) RTL_NUMBER_OF(a)
#endif

#define ROUND_TO_SIZE(length, alignment)                                                                               \
    ((((ULONG_PTR)(length)) + ((ULONG_PTR)(alignment)-1)) & ~((ULONG_PTR)(alignment)-1))
#define ALIGN_DOWN_BY(length, alignment) ((ULONG_PTR)(length) & ~((ULONG_PTR)(alignment)-1))
#define ALIGN_UP_BY(length, alignment) ALIGN_DOWN_BY(((ULONG_PTR)(length) + (alignment)-1), alignment)
#define ALIGN_DOWN_POINTER_BY(address, alignment) ((PVOID)ALIGN_DOWN_BY(address, alignment))
#define ALIGN_UP_POINTER_BY(address, alignment) ((PVOID)ALIGN_UP_BY(address, alignment))
#define ALIGN_DOWN(length, type) ALIGN_DOWN_BY(length, sizeof(type))
#define ALIGN_UP(length, type) ALIGN_UP_BY(length, sizeof(type))
#ifndef PAGE_SIZE
#define PAGE_SIZE 0x1000
#endif
#ifndef PAGE_SHIFT
#define PAGE_SHIFT 12
#endif
#define ROUND_TO_PAGES(size) ROUND_TO_SIZE(size, PAGE_SIZE)
#define BYTES_TO_PAGES(size) (((size) >> PAGE_SHIFT) + (((size) & (PAGE_SIZE - 1)) != 0))
#define PAGE_ALIGN(address) ((PVOID)ALIGN_DOWN_BY(address, PAGE_SIZE))
#define BYTE_OFFSET(address) ((ULONG)((ULONG_PTR)(address) & (PAGE_SIZE - 1)))

#define PtrToUlong(p) ((ULONG)(ULONG_PTR)(p))
#define PtrToUint(p) ((UINT)(UINT_PTR)(p))
#define PtrToLong(p) ((LONG)(LONG_PTR)(p))
#define PtrToInt(p) ((INT)(INT_PTR)(p))
#define PtrToUshort(p) ((USHORT)(ULONG_PTR)(p))
#define UlongToPtr(u) ((PVOID)(ULONG_PTR)(ULONG)(u))
#define UintToPtr(u) ((PVOID)(UINT_PTR)(UINT)(u))
#define LongToPtr(l) ((PVOID)(LONG_PTR)(LONG)(l))
#define IntToPtr(i) ((PVOID)(INT_PTR)(INT)(i))
#define HandleToULong(h) ((ULONG)(ULONG_PTR)(h))
#define HandleToUlong(h) HandleToULong(h)
#define HandleToLong(h) ((LONG)(LONG_PTR)(h))
#define ULongToHandle(u) ((HANDLE)(ULONG_PTR)(ULONG)(u))
#define UlongToHandle(u) ULongToHandle(u)
#define LongToHandle(l) ((HANDLE)(LONG_PTR)(LONG)(l))
#define PtrToPtr64(p) ((PVOID)(p))
#define Ptr64ToPtr(p) ((PVOID)(p))
#define RtlOffsetToPointer(base, offset) ((PCHAR)(((PCHAR)(base)) + ((ULONG_PTR)(offset))))
#define RtlPointerToOffset(base, pointer) ((ULONG)(((PCHAR)(pointer)) - ((PCHAR)(base))))
#define Add2Ptr(p, n) ((PVOID)((PUCHAR)(p) + (n)))

#ifndef UNREFERENCED_PARAMETER
#define UNREFERENCED_PARAMETER(p) ((void)(p))
#endif
#define DBG_UNREFERENCED_PARAMETER(p) ((void)(p))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(v) ((void)(v))
#define DEFAULT_UNREACHABLE default: __builtin_unreachable()

#define FlagOn(value, bits) ((value) & (bits))
#define BooleanFlagOn(value, bits) ((BOOLEAN)(((value) & (bits)) != 0))
#define SetFlag(value, bits) ((value) |= (bits))
#define ClearFlag(value, bits) ((value) &= ~(bits))

#define MINCHAR 0x80
#define MAXCHAR 0x7f
#define MINSHORT 0x8000
#define MAXSHORT 0x7fff
#define MINLONG ((LONG)0x80000000)
#define MAXLONG 0x7fffffff
#define MAXUCHAR 0xff
#define MAXUSHORT 0xffff
#define MAXULONG 0xffffffffu
#define MAXDWORD 0xffffffffu
#define MAXLONGLONG ((LONGLONG)0x7fffffffffffffff)
#define MINLONGLONG (-MAXLONGLONG - 1)
#define MAXLONG64 MAXLONGLONG
#define MAXULONGLONG (~(ULONGLONG)0)
#define MAXULONG64 MAXULONGLONG
#define MAXSIZE_T (~(SIZE_T)0)
#define MAXULONG_PTR (~(ULONG_PTR)0)
#define MAXLONG_PTR ((LONG_PTR)(~(ULONG_PTR)0 >> 1))
#define MAXUINT 0xffffffffu
#define MAXUINT8 0xff
#define MAXUINT16 0xffff
#define MAXUINT32 0xffffffffu
#define MAXUINT64 MAXULONGLONG

#define UNICODE_NULL ((WCHAR)0)
#define ANSI_NULL ((CHAR)0)
#define UNICODE_STRING_MAX_BYTES ((USHORT)65534)
#define UNICODE_STRING_MAX_CHARS 32767
#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)

#ifndef NMRFUZZ_MOCK
#define DELETE 0x00010000
#endif
#define READ_CONTROL 0x00020000
#define WRITE_DAC 0x00040000
#define WRITE_OWNER 0x00080000
#define SYNCHRONIZE 0x00100000
#define STANDARD_RIGHTS_REQUIRED 0x000F0000
#define STANDARD_RIGHTS_ALL 0x001F0000
#define GENERIC_READ 0x80000000u
#define GENERIC_WRITE 0x40000000
#define GENERIC_EXECUTE 0x20000000
#define GENERIC_ALL 0x10000000
#define MAXIMUM_ALLOWED 0x02000000
#define THREAD_ALL_ACCESS (STANDARD_RIGHTS_REQUIRED | SYNCHRONIZE | 0xFFFF)
#define EVENT_ALL_ACCESS (STANDARD_RIGHTS_REQUIRED | SYNCHRONIZE | 0x3)

#define OBJ_INHERIT 0x00000002
#define OBJ_PERMANENT 0x00000010
#define OBJ_EXCLUSIVE 0x00000020
#define OBJ_CASE_INSENSITIVE 0x00000040
#define OBJ_OPENIF 0x00000080
#define OBJ_OPENLINK 0x00000100
#define OBJ_KERNEL_HANDLE 0x00000200
#define OBJ_FORCE_ACCESS_CHECK 0x00000400
#define InitializeObjectAttributes(p, n, a, r, s)                                                                      \
    {                                                                                                                  \
        (p)->Length = sizeof(OBJECT_ATTRIBUTES);                                                                       \
        (p)->RootDirectory = (r);                                                                                      \
        (p)->Attributes = (a);                                                                                         \
        (p)->ObjectName = (n);                                                                                         \
        (p)->SecurityDescriptor = (s);                                                                                 \
        (p)->SecurityQualityOfService = NULL;                                                                          \
    }
#define RTL_CONSTANT_OBJECT_ATTRIBUTES(n, a)                                                                           \
    { sizeof(OBJECT_ATTRIBUTES), NULL, (PUNICODE_STRING)(n), (a), NULL, NULL }

#ifdef __cplusplus
#define DEFINE_ENUM_FLAG_OPERATORS(type)                                                                               \
    extern "C++" {                                                                                                     \
    inline constexpr type operator|(type a, type b) { return (type)((int)a | (int)b); }                                \
    inline constexpr type operator&(type a, type b) { return (type)((int)a & (int)b); }                                \
    inline constexpr type operator^(type a, type b) { return (type)((int)a ^ (int)b); }                                \
    inline constexpr type operator~(type a) { return (type) ~(int)a; }                                                 \
    inline type &operator|=(type &a, type b) { return a = a | b; }                                                     \
    inline type &operator&=(type &a, type b) { return a = a & b; }                                                     \
    inline type &operator^=(type &a, type b) { return a = a ^ b; }                                                     \
    }
#else
#define DEFINE_ENUM_FLAG_OPERATORS(type)
#endif

#define DECLARE_HANDLE(name)                                                                                           \
    struct name##__ {                                                                                                  \
        int unused;                                                                                                    \
    };                                                                                                                 \
    typedef struct name##__ *name

#define LOWORD(l) ((WORD)((ULONG_PTR)(l) & 0xffff))
#define HIWORD(l) ((WORD)(((ULONG_PTR)(l) >> 16) & 0xffff))
#define LOBYTE(w) ((BYTE)((ULONG_PTR)(w) & 0xff))
#define HIBYTE(w) ((BYTE)(((ULONG_PTR)(w) >> 8) & 0xff))
#define MAKEWORD(a, b) ((WORD)(((BYTE)(a)) | ((WORD)((BYTE)(b))) << 8))
#define MAKELONG(a, b) ((LONG)(((WORD)(a)) | ((ULONG)((WORD)(b))) << 16))

#endif
