// push_lock.cpp - EX_PUSH_LOCK: shared and exclusive access for threads that may wait.
//
// Zero-filled memory counts as an initialised lock, as it does on Windows. A thread may take a lock shared again that
// it holds shared, but not exclusive, and nothing again that it holds exclusive. The caller must have turned normal
// kernel APCs off (critical or guarded region, or APC_LEVEL); many drivers forget. The event of an acquisition says so,
// a = 1, and no breach is written. Sources: documentation pages "ExInitializePushLock", "ExAcquirePushLockExclusive",
// "ExAcquirePushLockShared".
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/lock_record.h"
#include "kernel/reader_writer.h"

namespace nmrfuzz::kernel {
namespace {

Object* use(Kernel& kernel, Routine routine, PEX_PUSH_LOCK lock) {
  kernel.check_irql(routine);
  return record_or_new(kernel, routine, lock, lock != nullptr ? &lock->Value : nullptr, ObjectKind::kPushLock,
                       Outcome::kLockUninitialized);
}

std::uint64_t apcs_are_on(Kernel& kernel) {
  const ThreadState& state = kernel.thread_state();
  return state.critical_regions == 0 && state.guarded_regions == 0 && kernel.irql() < kApcLevel ? 1 : 0;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void ExInitializePushLock(PEX_PUSH_LOCK PushLock) {
  constexpr Routine kRoutine = Routine::ExInitializePushLock;
  Kernel& kernel = current_kernel();
  if (kernel.probe(kRoutine, PushLock, sizeof *PushLock)) {
    const Object& object = kernel.add_object(ObjectKind::kPushLock, PushLock);
    PushLock->Value = kernel.number_of(object);
    kernel.called(kRoutine, kernel.number_of(object));
  }
}

void ExAcquirePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, Routine::ExAcquirePushLockExclusive, PushLock);
  if (object != nullptr) {
    acquire_exclusive(kernel, Routine::ExAcquirePushLockExclusive, *object, apcs_are_on(kernel));
  }
}

void ExAcquirePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, Routine::ExAcquirePushLockShared, PushLock);
  if (object != nullptr) {
    acquire_shared(kernel, Routine::ExAcquirePushLockShared, *object, SharedRecursion::kAllowed, apcs_are_on(kernel));
  }
}

void ExReleasePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, Routine::ExReleasePushLockExclusive, PushLock);
  if (object != nullptr) {
    release_exclusive(kernel, Routine::ExReleasePushLockExclusive, *object);
    kernel.point(Routine::ExReleasePushLockExclusive);
  }
}

void ExReleasePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG) {
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, Routine::ExReleasePushLockShared, PushLock);
  if (object != nullptr) {
    release_shared(kernel, Routine::ExReleasePushLockShared, *object);
    kernel.point(Routine::ExReleasePushLockShared);
  }
}

}  // extern "C"
