// debug.h - assertions, fast fail, bug checks, debug output, the paged-code check. IRQL: any, unless said otherwise.
// Sources: documentation pages "ASSERT", "NT_ASSERT", "NT_VERIFY", "RtlAssert", "__fastfail", "KeBugCheck",
// "KeBugCheckEx", "DbgPrint", "DbgPrintEx", "KdPrint", "DbgBreakPoint", "PAGED_CODE".
// Assertions are live; a module compiled with -DDBG=0 has them as a free build has.
#ifndef NMRFUZZ_DEBUG_H
#define NMRFUZZ_DEBUG_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

void RtlAssert(PVOID VoidFailedAssertion, PVOID VoidFileName, ULONG LineNumber, PSTR MutableMessage);
void KeBugCheck(ULONG BugCheckCode);
void KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1, ULONG_PTR BugCheckParameter2,
                  ULONG_PTR BugCheckParameter3, ULONG_PTR BugCheckParameter4);
void DbgBreakPoint(void);
ULONG DbgPrint(PCSTR Format, ...);
ULONG DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...);

// Ours: what __fastfail and PAGED_CODE lead to. NmrfuzzPagedCode wants IRQL <= APC_LEVEL.
void NmrfuzzFastFail(ULONG Code);
void NmrfuzzPagedCode(const char *File, ULONG Line);

NMRFUZZ_INLINE BOOLEAN NmrfuzzVerify(int Holds, const char *Text, const char *File, ULONG Line, const char *Message) {
    if (!Holds) {
        RtlAssert((PVOID)Text, (PVOID)File, Line, (PSTR)Message);
    }
    return (BOOLEAN)(Holds != 0);
}

#define FAST_FAIL_LEGACY_GS_VIOLATION 0
#define FAST_FAIL_STACK_COOKIE_CHECK_FAILURE 2
#define FAST_FAIL_CORRUPT_LIST_ENTRY 3
#define FAST_FAIL_INCORRECT_STACK 4
#define FAST_FAIL_INVALID_ARG 5
#define FAST_FAIL_FATAL_APP_EXIT 7
#define FAST_FAIL_RANGE_CHECK_FAILURE 8
#define FAST_FAIL_INVALID_REFERENCE_COUNT 14

#define DPFLTR_IHVDRIVER_ID 77
#define DPFLTR_IHVNETWORK_ID 79
#define DPFLTR_DEFAULT_ID 101
#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL 2
#define DPFLTR_INFO_LEVEL 3
#define DPFLTR_MASK 0x80000000u

#ifndef NMRFUZZ_MOCK

#define __fastfail(code) NmrfuzzFastFail(code)
#define RtlFailFast(code) NmrfuzzFastFail(code)
#define __debugbreak() DbgBreakPoint()

#if DBG
#ifndef ASSERT
#define ASSERT(e) ((e) ? (void)0 : RtlAssert((PVOID)(#e), (PVOID)(__FILE__), __LINE__, NULL))
#endif
#define ASSERTMSG(m, e) ((e) ? (void)0 : RtlAssert((PVOID)(#e), (PVOID)(__FILE__), __LINE__, (PSTR)(m)))
#define RTL_SOFT_ASSERT(e) ASSERT(e)
#define NT_ASSERT(e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, NULL)
#define NT_ASSERTMSG(m, e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, m)
#define NT_ASSERT_ACTION(e) NT_ASSERT(e)
#define NT_VERIFY(e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, NULL)
#define NT_VERIFYMSG(m, e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, m)
#define KdPrint(arguments) DbgPrint arguments
#define KdPrintEx(arguments) DbgPrintEx arguments
#define KdBreakPoint() DbgBreakPoint()
#else
#ifndef ASSERT
#define ASSERT(e) ((void)0)
#endif
#define ASSERTMSG(m, e) ((void)0)
#define RTL_SOFT_ASSERT(e) ((void)0)
#define NT_ASSERT(e) ((void)0)
#define NT_ASSERTMSG(m, e) ((void)0)
#define NT_ASSERT_ACTION(e) ((void)0)
#define NT_VERIFY(e) ((e) ? TRUE : FALSE)
#define NT_VERIFYMSG(m, e) ((e) ? TRUE : FALSE)
#define KdPrint(arguments) ((void)0)
#define KdPrintEx(arguments) ((void)0)
#define KdBreakPoint() ((void)0)
#endif
#define NT_FRE_ASSERT(e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, NULL)
#define NT_FRE_ASSERTMSG(m, e) NmrfuzzVerify((e) ? 1 : 0, #e, __FILE__, __LINE__, m)
#define NT_ASSERT_ASSUME(e) NT_ASSERT(e)
#define NT_ASSERTMSG_ASSUME(m, e) NT_ASSERTMSG(m, e)
#define RTL_ASSERT(e) ASSERT(e)
#define RTL_VERIFY(e) NT_VERIFY(e)

#define KD_DEBUGGER_ENABLED FALSE
#define KD_DEBUGGER_NOT_PRESENT TRUE
#define PAGED_CODE() NmrfuzzPagedCode(__FILE__, __LINE__)
#define PAGED_CODE_LOCKED() ((void)0)

#endif // NMRFUZZ_MOCK

NMRFUZZ_END_C

#endif
