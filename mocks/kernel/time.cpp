// time.cpp - the clocks, processors, and which routines there are.
//
// All clocks are the scheduler's virtual time plus a constant. Time moves when the clock is scheduled, so a loop that
// does nothing but ask for the time gets a timer from here that makes it move.
//
// A thread at DISPATCH_LEVEL or above is on a processor that no other such thread is on; below, the number may change
// between two calls.
//
// Sources: documentation pages "KeQueryPerformanceCounter", "KeQueryInterruptTime", "KeQuerySystemTimePrecise",
// "KeQueryTickCount", "KeGetCurrentProcessorNumberEx", "KeQueryActiveProcessorCountEx",
// "KeSetSystemGroupAffinityThread", "MmGetSystemRoutineAddress".
#include <dlfcn.h>
#include <ntddk.h>

#include <array>
#include <bit>

#include "kernel/kernel.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint64_t kUnitsPerTick = 156'250;  // of 100 ns: 64 ticks a second
constexpr std::uint64_t kUnitsPerSecond = 10'000'000;
constexpr std::uint64_t kUnitsPerMicrosecond = 10;
constexpr std::uint64_t kUpTime = 60 * kUnitsPerSecond;  // since boot, at the start of each execution

void let_time_pass(void*, std::uint64_t) {}

// Virtual time, for a module that asks for it.
std::uint64_t ask_time() {
  constexpr std::uint32_t kPatience = 8;
  Kernel& kernel = current_kernel();
  schedule::Scheduler& scheduler = kernel.scheduler();
  GroupState& state = kernel.groups();
  kernel.called(Routine::KeQueryTime);
  const std::uint64_t now = scheduler.now();
  if (state.time_asked != now) {
    state.time_asked = now;
    state.time_questions = 0;
  }
  if (++state.time_questions == kPatience) {
    scheduler.arm(now + kUnitsPerTick, &let_time_pass, nullptr, 0);
  }
  if (state.time_questions >= kPatience) {
    scheduler.yield({static_cast<trace::RoutineNumber>(Routine::KeQueryTime), Access::kNone, 0});
  }
  return scheduler.now();
}

void wake(void* scheduler, std::uint64_t thread) {
  static_cast<schedule::Scheduler*>(scheduler)->make_runnable(static_cast<ThreadNumber>(thread));
}

// Whether the thread is on a processor that it cannot leave.
bool stays(const schedule::Scheduler& scheduler, ThreadNumber thread) {
  return thread != 0 && scheduler.thread(thread).alive && scheduler.thread(thread).irql >= kDispatchLevel;
}

std::uint32_t current_processor() {
  Kernel& kernel = current_kernel();
  const schedule::Scheduler& scheduler = kernel.scheduler();
  const ThreadNumber self = kernel.scheduler().current().number;
  if (const std::uint64_t affinity = kernel.thread_state().affinity; affinity != 0) {
    return static_cast<std::uint32_t>(std::countr_zero(affinity));
  }
  auto& processors = kernel.groups().processors;
  for (std::uint32_t i = 0; i < processors.size(); ++i) {
    if (processors[i] == self) {
      return i;
    }
  }
  for (std::uint32_t i = 0; i < processors.size(); ++i) {
    const std::uint32_t processor = (self + i) % processors.size();
    if (!stays(scheduler, processors[processor])) {
      processors[processor] = self;
      return processor;
    }
  }
  return self % processors.size();
}

ULONG processor_count(USHORT group) {
  return group == 0 || group == ALL_PROCESSOR_GROUPS ? static_cast<ULONG>(GroupState::kProcessors) : 0;
}

LARGE_INTEGER as_large_integer(std::uint64_t value) {
  LARGE_INTEGER result;
  result.QuadPart = static_cast<LONGLONG>(value);
  return result;
}

void query_time(PLARGE_INTEGER result, std::uint64_t base, std::uint64_t unit) {
  if (current_kernel().probe(Routine::KeQueryTime, result, sizeof *result)) {
    *result = as_large_integer((ask_time() + base) / unit);
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency) {
  if (PerformanceFrequency != nullptr &&
      current_kernel().probe(Routine::KeQueryTime, PerformanceFrequency, sizeof *PerformanceFrequency)) {
    *PerformanceFrequency = as_large_integer(kUnitsPerSecond);
  }
  return as_large_integer(ask_time() + kUpTime);
}

ULONGLONG KeQueryInterruptTime(void) { return ask_time() + kUpTime; }

ULONGLONG KeQueryUnbiasedInterruptTime(void) { return ask_time() + kUpTime; }

VOID KeQuerySystemTime(PLARGE_INTEGER CurrentTime) { query_time(CurrentTime, Kernel::kSystemTimeAtStart, 1); }

VOID KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime) { query_time(CurrentTime, Kernel::kSystemTimeAtStart, 1); }

VOID KeQueryTickCount(PLARGE_INTEGER CurrentCount) { query_time(CurrentCount, kUpTime, kUnitsPerTick); }

ULONG KeQueryTimeIncrement(void) { return static_cast<ULONG>(kUnitsPerTick); }

VOID KeStallExecutionProcessor(ULONG MicroSeconds) {
  constexpr Routine kRoutine = Routine::KeStallExecutionProcessor;
  Kernel& kernel = current_kernel();
  auto& scheduler = kernel.scheduler();
  kernel.called(kRoutine, 0, 0, MicroSeconds);
  if (MicroSeconds == 0) {
    scheduler.yield({static_cast<nmrfuzz::trace::RoutineNumber>(kRoutine), Access::kNone, 0});
    return;
  }
  // Not a wait: it is allowed at any IRQL. The thread does nothing until the time has passed.
  scheduler.arm(scheduler.now() + MicroSeconds * kUnitsPerMicrosecond, &wake, &scheduler, scheduler.current().number);
  scheduler.block(0);
}

ULONG KeGetCurrentProcessorNumber(void) { return KeGetCurrentProcessorNumberEx(nullptr); }

ULONG KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER ProcNumber) {
  constexpr Routine kRoutine = Routine::ProcessorQuery;
  Kernel& kernel = current_kernel();
  const std::uint32_t processor = current_processor();
  if (ProcNumber != nullptr && kernel.probe(kRoutine, ProcNumber, sizeof *ProcNumber)) {
    *ProcNumber = {0, static_cast<UCHAR>(processor), 0};
  }
  kernel.called(kRoutine, 0, 0, processor);
  return processor;
}

ULONG KeQueryMaximumProcessorCount(void) { return processor_count(0); }

ULONG KeQueryMaximumProcessorCountEx(USHORT GroupNumber) { return processor_count(GroupNumber); }

ULONG KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors) {
  if (ActiveProcessors != nullptr &&
      current_kernel().probe(Routine::ProcessorQuery, ActiveProcessors, sizeof *ActiveProcessors)) {
    *ActiveProcessors = ~KAFFINITY{0};
  }
  return processor_count(0);
}

ULONG KeQueryActiveProcessorCountEx(USHORT GroupNumber) { return processor_count(GroupNumber); }

NTSTATUS KeGetProcessorNumberFromIndex(ULONG ProcIndex, PPROCESSOR_NUMBER ProcNumber) {
  if (!current_kernel().probe(Routine::ProcessorQuery, ProcNumber, sizeof *ProcNumber) ||
      ProcIndex >= GroupState::kProcessors) {
    return kStatusInvalidParameter;
  }
  *ProcNumber = {0, static_cast<UCHAR>(ProcIndex), 0};
  return kStatusSuccess;
}

ULONG KeGetProcessorIndexFromNumber(PPROCESSOR_NUMBER ProcNumber) {
  constexpr ULONG kInvalidProcessorIndex = 0xffffffff;
  const bool valid = current_kernel().probe(Routine::ProcessorQuery, ProcNumber, sizeof *ProcNumber) &&
                     ProcNumber->Group == 0 && ProcNumber->Number < GroupState::kProcessors;
  return valid ? ProcNumber->Number : kInvalidProcessorIndex;
}

VOID KeSetSystemGroupAffinityThread(PGROUP_AFFINITY Affinity, PGROUP_AFFINITY PreviousAffinity) {
  constexpr Routine kRoutine = Routine::ProcessorQuery;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, Affinity, sizeof *Affinity) ||
      (PreviousAffinity != nullptr && !kernel.probe(kRoutine, PreviousAffinity, sizeof *PreviousAffinity))) {
    return;
  }
  ThreadState& state = kernel.thread_state();
  if (PreviousAffinity != nullptr) {
    *PreviousAffinity = {};
    PreviousAffinity->Mask = state.affinity;
  }
  state.affinity = Affinity->Group == 0 ? Affinity->Mask : 0;
  kernel.called(kRoutine, 0, 0, state.affinity);
}

VOID KeRevertToUserGroupAffinityThread(PGROUP_AFFINITY PreviousAffinity) {
  constexpr Routine kRoutine = Routine::ProcessorQuery;
  Kernel& kernel = current_kernel();
  if (kernel.probe(kRoutine, PreviousAffinity, sizeof *PreviousAffinity)) {
    kernel.thread_state().affinity = PreviousAffinity->Mask;
    kernel.called(kRoutine, 0, 0, PreviousAffinity->Mask);
  }
}

PVOID MmGetSystemRoutineAddress(PUNICODE_STRING SystemRoutineName) {
  constexpr Routine kRoutine = Routine::MmGetSystemRoutineAddress;
  constexpr auto kFirst = static_cast<std::size_t>(Routine::NmrRegisterProvider);  // callbacks are before it
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  std::array<char, 128> name{};
  if (!kernel.probe(kRoutine, SystemRoutineName, sizeof *SystemRoutineName) || SystemRoutineName->Length == 0 ||
      !kernel.probe(kRoutine, SystemRoutineName->Buffer, SystemRoutineName->Length)) {
    return nullptr;
  }
  const std::size_t length = SystemRoutineName->Length / sizeof(WCHAR);
  void* address = nullptr;
  if (length < name.size()) {
    for (std::size_t i = 0; i < length; ++i) {
      name[i] = static_cast<char>(SystemRoutineName->Buffer[i]);
    }
    // Only what the table has: the rest of the process is no part of the kernel.
    for (std::size_t i = kFirst; i < kRoutines.size() && address == nullptr; ++i) {
      if (kRoutines[i].name == name.data()) {
        address = dlsym(RTLD_DEFAULT, name.data());
      }
    }
  }
  kernel.called(kRoutine, 0, address != nullptr);
  return address;
}

}  // extern "C"
