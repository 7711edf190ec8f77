// both_compiler_words.c - MSVC words: __declspec, calling conventions, pragmas, anonymous unions, exception blocks.
// flags: -Wno-pragma-pack
#include <ntddk.h>
#pragma warning(push)
#pragma warning(disable : 4201)
#pragma prefast(disable : 28167)

#ifdef ALLOC_PRAGMA
#pragma alloc_text(PAGE, Paged)
#endif
EXTERN_C VOID Declspecs(VOID);
#pragma alloc_text(INIT, Declspecs)
#pragma code_seg("PAGE")

struct _TAGGED {
    ULONG A;
};
typedef struct _HOLDER {
#ifdef __cplusplus
    ULONG A;
#else
    struct _TAGGED; // a Microsoft extension of C
#endif
    union {
        ULONG Value;
        struct {
            USHORT Low;
            USHORT High;
        };
    };
    union {
        LARGE_INTEGER Large;
    } DUMMY;
} HOLDER;

typedef struct _BITS {
    UCHAR One : 1;
    ULONG Two : 2;
} BITS;
C_ASSERT(sizeof(BITS) == 8);

#include <pshpack1.h>
typedef struct _PACKED {
    UCHAR A;
    ULONG B;
} PACKED;
#include <poppack.h>
C_ASSERT(sizeof(PACKED) == 5);

typedef struct DECLSPEC_CACHEALIGN _ALIGNED {
    LONG Value;
} ALIGNED;
C_ASSERT(TYPE_ALIGNMENT(ALIGNED) == 64);
__declspec(align(16)) static ULONG Aligned;
__declspec(selectany) LONG Selected = 1;
typedef unsigned __int64 BIG;
C_ASSERT(sizeof(BIG) == 8);

static __forceinline LONG __cdecl Forced(LONG a) { return a; }
static FORCEINLINE LONG ForcedToo(LONG a) { return a; }
FORCEINLINE LONG __stdcall ForcedAlso(LONG a) { return a; }
__declspec(noinline) VOID NTAPI Declspecs(VOID) { Aligned = 1; }

EXTERN_C LONG Words(HOLDER *Holder, BIG *Big);
LONG Words(HOLDER *Holder, BIG *Big) {
    UINT64 *same = Big;
    size_t *alsoSame = same;
    SIZE_T *andSame = alsoSame;
    LONG result = 0;
    C_ASSERT(sizeof(long long) == 8);
    PAGED_CODE();
    Declspecs();
    __try {
        result = Forced(1) + ForcedToo(2) + ForcedAlso(3);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        result = GetExceptionCode();
    }
    __try {
        result += (LONG)*andSame;
    } __finally {
        Holder->High = 1;
    }
    __assume(result != 0);
    if (result == 7) {
        __fastfail(FAST_FAIL_FATAL_APP_EXIT);
    }
    if (result == 8) {
        __debugbreak();
    }
    return (LONG)Holder->A + (LONG)Holder->Low + result + MAXLONG;
}
#pragma warning(pop)
