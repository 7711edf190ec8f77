// semaphore.cpp - KSEMAPHORE: a count between 0 and a limit; a wait takes one from it.
//
// Record: signal = the count, count = the limit. A release beyond the limit raises an exception on Windows and leaves
// the count alone.
// Sources: documentation pages "Semaphore Objects", "KeInitializeSemaphore", "KeReleaseSemaphore".
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

bool is_semaphore(ObjectKind kind) { return kind == ObjectKind::kSemaphore; }

// The record behind a semaphore, at a scheduling point; nullptr after a breach.
Object* use(Kernel& kernel, Routine routine, PRKSEMAPHORE semaphore, Access access) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, semaphore, sizeof *semaphore)) {
    return nullptr;
  }
  Object* const object = kernel.find(routine, semaphore->Header.ObjectNumber, semaphore, is_semaphore);
  if (object == nullptr) {
    return nullptr;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(routine, number, access);
  if (object->kind == ObjectKind::kNone) {
    kernel.breach(routine, Outcome::kFreedObject, number);
    return nullptr;
  }
  return object;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit) {
  constexpr Routine kRoutine = Routine::KeInitializeSemaphore;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, Semaphore, sizeof *Semaphore)) {
    return;
  }
  Object& object = kernel.add_object(ObjectKind::kSemaphore, Semaphore);
  const ObjectNumber number = kernel.number_of(object);
  if (Count < 0 || Limit <= 0 || Count > Limit) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, number, static_cast<std::uint64_t>(Count),
                  static_cast<std::uint64_t>(Limit));
  }
  object.signal = Count;
  object.count = Limit;
  *Semaphore = {};
  Semaphore->Header.SignalState = Count;
  Semaphore->Header.ObjectNumber = number;
  Semaphore->Limit = Limit;
  kernel.called(kRoutine, number, Count);
}

LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY, LONG Adjustment, BOOLEAN Wait) {
  constexpr Routine kRoutine = Routine::KeReleaseSemaphore;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Semaphore, Access::kWrite);
  if (object == nullptr) {
    return 0;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (Wait && kernel.irql() >= kDispatchLevel) {
    kernel.breach(kRoutine, Outcome::kWaitAtRaisedIrql, number);
  }
  const LONG old = object->signal;
  const bool exceeds = Adjustment > object->count - old && !is_mutant(Mutant::kExceedsSemaphoreLimit);
  if (Adjustment <= 0 || exceeds) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, number, static_cast<std::uint64_t>(Adjustment),
                  static_cast<std::uint64_t>(object->count));
    return old;
  }
  object->signal += Adjustment;
  kernel.called(kRoutine, number, old);
  kernel.signalled(number);
  Semaphore->Header.SignalState = object->signal;
  // A waiter may run, and even unload the module, before the caller gets any further.
  kernel.point(kRoutine, number);
  return old;
}

LONG KeReadStateSemaphore(PRKSEMAPHORE Semaphore) {
  constexpr Routine kRoutine = Routine::KeReadStateSemaphore;
  Kernel& kernel = current_kernel();
  Object* const object = use(kernel, kRoutine, Semaphore, Access::kRead);
  if (object == nullptr) {
    return 0;
  }
  const LONG state = object->signal;
  kernel.called(kRoutine, kernel.number_of(*object), state);
  return state;
}

}  // extern "C"
