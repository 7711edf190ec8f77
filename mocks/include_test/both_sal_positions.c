// both_sal_positions.c - annotations in each place that drivers put them.
// flags: -Wall -Wextra -Werror
#include <sal.h>
#include <driverspecs.h>
#include <specstrings.h>
#include <no_sal2.h>
#include <ntddk.h>

typedef _Function_class_(TEST_CALLBACK) _IRQL_requires_max_(DISPATCH_LEVEL) _Must_inspect_result_ NTSTATUS NTAPI
    TEST_CALLBACK(_In_ PVOID Context, _Out_writes_bytes_to_opt_(Size, *Used) PVOID Buffer, _In_ SIZE_T Size,
                  _Out_opt_ SIZE_T *Used);

typedef _Struct_size_bytes_(Size) struct _ANNOTATED {
    ULONG Size;
    _Field_size_bytes_(Size) PUCHAR Bytes;
    _Guarded_by_(Lock) ULONG Count;
    KSPIN_LOCK Lock;
    _Interlocked_ volatile LONG References;
} ANNOTATED;

static _Requires_lock_held_(Entry->Lock) _IRQL_requires_(DISPATCH_LEVEL) void
Locked(_Inout_ ANNOTATED *Entry) _Releases_nonreentrant_lock_(Entry->Lock);
_Use_decl_annotations_ static void Locked(ANNOTATED *Entry) { Entry->Count++; }

__drv_maxIRQL(DISPATCH_LEVEL) static _Check_return_ NTSTATUS
OldWords(__in __drv_aliasesMem PVOID Context, __inout_opt PULONG Value, __out_ecount(Count) PULONG Values,
         __in ULONG Count) {
    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(Values);
    UNREFERENCED_PARAMETER(Count);
    _Analysis_assume_(Value != NULL);
    __analysis_assume(Count > 0);
    return Value == NULL ? STATUS_INVALID_PARAMETER : STATUS_SUCCESS;
}

_Success_(return != FALSE) _When_(Flag, _Acquires_exclusive_lock_(*Lock)) _IRQL_saves_ _IRQL_raises_(DISPATCH_LEVEL)
static BOOLEAN Conditional(IN BOOLEAN Flag, OUT PULONG Result, IN OPTIONAL CONST VOID *Extra, _Inout_ KSPIN_LOCK *Lock) {
    (void)Extra;
    (void)Lock;
    *Result = 1;
    return Flag;
}

EXTERN_C NTSTATUS UseSal(ANNOTATED *Entry);
NTSTATUS UseSal(_In_ _Pre_satisfies_(Entry->Size > 0) _Post_invalid_ __drv_freesMem(Mem) ANNOTATED *Entry) {
    ULONG value = 0;
    TEST_CALLBACK *callback = NULL;
    (void)callback;
    Locked(Entry);
    Conditional(TRUE, &value, NULL, &Entry->Lock);
    return OldWords(NULL, &value, &value, 1);
}
