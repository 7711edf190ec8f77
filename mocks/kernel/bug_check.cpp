// bug_check.cpp - bug checks, failed assertions, fast fail, break points, debug output, PAGED_CODE.
//
// All but the last two end the execution after their event. Nothing is printed.
// kBugCheck: a = the bug check code; b = the number of its first parameter, the line of an assertion, or the code of a
// fast fail.
// Sources: documentation pages "KeBugCheckEx", "RtlAssert", "__fastfail", "DbgBreakPoint", "DbgPrintEx", "PAGED_CODE",
// "Bug Check 0x139: KERNEL_SECURITY_CHECK_FAILURE".
#include <ntddk.h>

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {
namespace {

// What the machine would stop with where no debugger is attached.
constexpr std::uint64_t kAssertionFailure = 0xC0000420;
constexpr std::uint64_t kSecurityCheckFailure = 0x139;
constexpr std::uint64_t kBreakPoint = 0x80000003;

[[noreturn]] void stop(Routine routine, std::uint64_t code, std::uint64_t parameter) {
  Kernel& kernel = current_kernel();
  kernel.write(trace::EventKind::kBugCheck, routine, 0, 0, code, parameter);
  kernel.scheduler().end(schedule::EndReason::kStopped);
  __builtin_unreachable();
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

VOID KeBugCheck(ULONG BugCheckCode) { stop(Routine::KeBugCheck, BugCheckCode, 0); }

VOID KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1, ULONG_PTR, ULONG_PTR, ULONG_PTR) {
  stop(Routine::KeBugCheckEx, BugCheckCode,
       current_kernel().number_of_value(reinterpret_cast<const void*>(BugCheckParameter1)));
}

VOID RtlAssert(PVOID, PVOID, ULONG LineNumber, PSTR) { stop(Routine::RtlAssert, kAssertionFailure, LineNumber); }

VOID NmrfuzzFastFail(ULONG Code) { stop(Routine::FastFail, kSecurityCheckFailure, Code); }

VOID DbgBreakPoint(void) { stop(Routine::DbgBreakPoint, kBreakPoint, 0); }

ULONG DbgPrint(PCSTR, ...) {
  current_kernel().called(Routine::DbgPrint);
  return 0;
}

ULONG DbgPrintEx(ULONG, ULONG Level, PCSTR, ...) {
  current_kernel().called(Routine::DbgPrint, 0, 0, Level);
  return 0;
}

VOID NmrfuzzPagedCode(const char*, ULONG Line) {
  Kernel& kernel = current_kernel();
  if (kernel.irql() > kApcLevel) {
    kernel.breach(Routine::PagedCode, Outcome::kPagedAtRaisedIrql, 0, Line);
  }
}

}  // extern "C"
