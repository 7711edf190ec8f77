// wait_routines.cpp - KeWaitForSingleObject, KeWaitForMultipleObjects, KeDelayExecutionThread.
//
// Waits are never alerted: nothing in this kernel delivers user APCs.
#include <ntddk.h>

#include <algorithm>
#include <array>

#include "kernel/kernel.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

// The number of the dispatcher object at `pointer`; 0 after a breach.
[[gnu::always_inline]] inline ObjectNumber dispatcher_object(Kernel& kernel, Routine routine, const void* pointer) {
  const auto* const header = static_cast<const DISPATCHER_HEADER*>(pointer);
  if (!kernel.probe(routine, header, sizeof *header)) {
    return 0;
  }
  const Object* const object = kernel.find(routine, header->ObjectNumber, pointer, is_dispatcher);
  return object != nullptr ? kernel.number_of(*object) : 0;
}

// A time-out as std::int64_t; nullptr for ever.
const std::int64_t* timeout_of(const LARGE_INTEGER* timeout, std::int64_t& storage) {
  if (timeout == nullptr) {
    return nullptr;
  }
  storage = timeout->QuadPart;
  return &storage;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON, KPROCESSOR_MODE, BOOLEAN, PLARGE_INTEGER Timeout) {
  constexpr Routine kRoutine = Routine::KeWaitForSingleObject;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  const std::array<ObjectNumber, 1> waited = {dispatcher_object(kernel, kRoutine, Object)};
  std::int64_t storage = 0;
  return waited[0] == 0 ? kStatusInvalidParameter : kernel.wait(kRoutine, waited, false, timeout_of(Timeout, storage));
}

NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType, KWAIT_REASON, KPROCESSOR_MODE,
                                  BOOLEAN, PLARGE_INTEGER Timeout, PKWAIT_BLOCK WaitBlockArray) {
  constexpr Routine kRoutine = Routine::KeWaitForMultipleObjects;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  const ULONG limit = WaitBlockArray == nullptr ? THREAD_WAIT_OBJECTS : MAXIMUM_WAIT_OBJECTS;
  if (Count == 0 || Count > limit) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, 0, Count, limit);
    return kStatusInvalidParameter;
  }
  std::array<ObjectNumber, MAXIMUM_WAIT_OBJECTS> waited{};
  for (ULONG i = 0; i < Count; ++i) {
    waited[i] = dispatcher_object(kernel, kRoutine, Object[i]);
    if (waited[i] == 0) {
      return kStatusInvalidParameter;
    }
  }
  std::int64_t storage = 0;
  return kernel.wait(kRoutine, {waited.data(), Count}, WaitType == WaitAll, timeout_of(Timeout, storage));
}

NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE, BOOLEAN, PLARGE_INTEGER Interval) {
  constexpr Routine kRoutine = Routine::KeDelayExecutionThread;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (!kernel.probe(kRoutine, Interval, sizeof *Interval)) {
    return kStatusInvalidParameter;
  }
  std::int64_t storage = 0;
  const std::int64_t* const interval = timeout_of(Interval, storage);
  if (*interval == 0) {
    kernel.called(kRoutine);
    kernel.scheduler().yield({static_cast<nmrfuzz::trace::RoutineNumber>(kRoutine), Access::kNone, 0});
    return kStatusSuccess;
  }
  kernel.wait(kRoutine, {}, false, interval);
  return kStatusSuccess;
}

}  // extern "C"
