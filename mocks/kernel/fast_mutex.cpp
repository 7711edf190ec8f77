// fast_mutex.cpp - FAST_MUTEX: held at APC_LEVEL, not recursive.
//
// Record: flags = the IRQL to restore, or kUnsafe when the acquirer kept its own.
// Sources: documentation pages "Fast Mutexes and Guarded Mutexes", "ExAcquireFastMutex", "ExAcquireFastMutexUnsafe",
// "ExTryToAcquireFastMutex", "ExReleaseFastMutex".
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint8_t kUnsafe = 0xff;

Object* record_of(Kernel& kernel, Routine routine, PFAST_MUTEX mutex) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, mutex, sizeof *mutex)) {
    return nullptr;
  }
  Object* const object = kernel.objects().find(mutex->ObjectNumber, mutex);
  if (object == nullptr || object->kind != ObjectKind::kFastMutex) {
    kernel.breach(routine, Outcome::kLockUninitialized);
    return nullptr;
  }
  return object;
}

// The Unsafe routines rely on the caller having turned APCs off.
void check_apcs_off(Kernel& kernel, Routine routine) {
  const ThreadState& state = kernel.thread_state();
  if (kernel.irql() < kApcLevel && state.critical_regions == 0 && state.guarded_regions == 0) {
    kernel.breach(routine, Outcome::kIrqlTooLow);
  }
}

void take(Kernel& kernel, Object& object, std::uint8_t restore) {
  object.owner = kernel.scheduler().current().number;
  object.flags = restore;
  ++kernel.thread_state().locks_held;
}

// Waits for the mutex. `restore`: the IRQL to go back to at its release, or kUnsafe.
void acquire(Kernel& kernel, Routine routine, Object& object, std::uint8_t restore) {
  const ObjectNumber number = kernel.number_of(object);
  kernel.point(routine, number);
  if (object.kind == ObjectKind::kNone) {
    kernel.breach(routine, Outcome::kFreedObject, number);
    return;
  }
  if (object.owner == kernel.scheduler().current().number) {
    kernel.breach(routine, Outcome::kLockRecursive, number);
    return;
  }
  while (object.owner != 0 && !is_mutant(Mutant::kFastMutexAdmitsTwo)) {
    kernel.block_on(number);
  }
  take(kernel, object, restore);
  kernel.called(routine, number);
}

// Returns whether the current thread was the owner, and then in `restore` what it gave to acquire().
bool release(Kernel& kernel, Routine routine, Object& object, std::uint8_t& restore) {
  const ObjectNumber number = kernel.number_of(object);
  if (object.owner != kernel.scheduler().current().number) {
    kernel.breach(routine, Outcome::kLockNotOwned, number);
    return false;
  }
  restore = object.flags;
  object.owner = 0;
  --kernel.thread_state().locks_held;
  kernel.called(routine, number);
  kernel.wake_all(number);
  return true;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void ExInitializeFastMutex(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExInitializeFastMutex;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (kernel.probe(kRoutine, FastMutex, sizeof *FastMutex)) {
    const Object& object = kernel.add_object(ObjectKind::kFastMutex, FastMutex);
    *FastMutex = {};
    FastMutex->Count = 1;
    FastMutex->ObjectNumber = kernel.number_of(object);
    kernel.called(kRoutine, kernel.number_of(object));
  }
}

void ExAcquireFastMutex(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExAcquireFastMutex;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, FastMutex);
  if (object != nullptr) {
    const std::uint8_t old = kernel.irql();
    kernel.set_irql(kApcLevel);
    acquire(kernel, kRoutine, *object, old);
  }
}

void ExReleaseFastMutex(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExReleaseFastMutex;
  Kernel& kernel = current_kernel();
  if (kernel.irql() < kApcLevel) {
    kernel.breach(kRoutine, Outcome::kIrqlTooLow);
  }
  std::uint8_t restore = 0;
  Object* const object = record_of(kernel, kRoutine, FastMutex);
  if (object == nullptr || !release(kernel, kRoutine, *object, restore)) {
    return;
  }
  if (restore == kUnsafe) {
    // Acquired by the Unsafe routine: there is no level to go back to.
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, kernel.number_of(*object));
  } else {
    kernel.set_irql(restore);
  }
  kernel.point(kRoutine);
}

BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExTryToAcquireFastMutex;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, FastMutex);
  if (object == nullptr) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(kRoutine, number);
  if (object->kind == ObjectKind::kNone) {
    kernel.breach(kRoutine, Outcome::kFreedObject, number);
    return FALSE;
  }
  const bool taken = object->owner == 0;
  if (taken) {
    take(kernel, *object, kernel.irql());
    kernel.set_irql(kApcLevel);
  }
  kernel.called(kRoutine, number, taken ? 1 : 0);
  return taken ? TRUE : FALSE;
}

void ExAcquireFastMutexUnsafe(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExAcquireFastMutexUnsafe;
  Kernel& kernel = current_kernel();
  check_apcs_off(kernel, kRoutine);
  Object* const object = record_of(kernel, kRoutine, FastMutex);
  if (object != nullptr) {
    acquire(kernel, kRoutine, *object, kUnsafe);
  }
}

void ExReleaseFastMutexUnsafe(PFAST_MUTEX FastMutex) {
  constexpr Routine kRoutine = Routine::ExReleaseFastMutexUnsafe;
  Kernel& kernel = current_kernel();
  check_apcs_off(kernel, kRoutine);
  std::uint8_t restore = 0;
  Object* const object = record_of(kernel, kRoutine, FastMutex);
  if (object == nullptr || !release(kernel, kRoutine, *object, restore)) {
    return;
  }
  if (restore != kUnsafe) {
    // Acquired by the routine that raises: the caller stays at APC_LEVEL for ever.
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, kernel.number_of(*object));
  }
  kernel.point(kRoutine);
}

}  // extern "C"
