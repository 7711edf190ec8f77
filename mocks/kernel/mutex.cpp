// mutex.cpp - KMUTEX: taken by waiting for it, as often as its owner likes, released as often by the same thread.
//
// wait.cpp takes it. Record: owner, count = how often the owner took it, signal = 1 while it is free.
// Sources: documentation pages "Mutex Objects", "KeInitializeMutex", "KeReleaseMutex", "KeReadStateMutex".
#include <ntddk.h>

#include <utility>

#include "kernel/kernel.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

bool is_mutex(ObjectKind kind) { return kind == ObjectKind::kMutex; }

Object* record_of(Kernel& kernel, Routine routine, PRKMUTEX mutex) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, mutex, sizeof *mutex)) {
    return nullptr;
  }
  return kernel.find(routine, mutex->Header.ObjectNumber, mutex, is_mutex);
}

// 1 while free, then one less each time its owner takes it.
LONG state_of(const Object& object) { return 1 - object.count; }

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void KeInitializeMutex(PRKMUTEX Mutex, ULONG) {
  constexpr Routine kRoutine = Routine::KeInitializeMutex;
  Kernel& kernel = current_kernel();
  if (!kernel.probe(kRoutine, Mutex, sizeof *Mutex)) {
    return;
  }
  Object& object = kernel.add_object(ObjectKind::kMutex, Mutex);
  object.signal = 1;
  *Mutex = {};
  Mutex->Header.SignalState = 1;
  Mutex->Header.ObjectNumber = kernel.number_of(object);
  kernel.called(kRoutine, kernel.number_of(object));
}

LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait) {
  constexpr Routine kRoutine = Routine::KeReleaseMutex;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, Mutex);
  if (object == nullptr) {
    return 0;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (Wait && kernel.irql() >= kDispatchLevel) {
    kernel.breach(kRoutine, Outcome::kWaitAtRaisedIrql, number);
  }
  if (object->owner != kernel.scheduler().current().number && !is_mutant(Mutant::kReleasesForeignMutex)) {
    kernel.breach(kRoutine, Outcome::kLockNotOwned, number);
    return 0;
  }
  const LONG old = state_of(*object);
  object->count -= is_mutant(Mutant::kFreesMutexAtOnce) ? object->count : 1;
  if (object->count == 0) {
    object->owner = 0;
    object->signal = 1;
    --kernel.thread_state().locks_held;
  }
  kernel.called(kRoutine, number, old);
  if (object->count == 0) {
    kernel.signalled(number);
  }
  Mutex->Header.SignalState = state_of(*object);
  // Whoever got the mutex may run, and free it, before the caller gets any further.
  kernel.point(kRoutine, number);
  return old;
}

LONG KeReadStateMutex(PRKMUTEX Mutex) {
  constexpr Routine kRoutine = Routine::KeReadStateMutex;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, Mutex);
  if (object == nullptr) {
    return 0;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(kRoutine, number, Access::kRead);
  const LONG state = state_of(*object);
  kernel.called(kRoutine, number, state);
  return state;
}

}  // extern "C"
