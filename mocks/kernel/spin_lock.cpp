// spin_lock.cpp - KSPIN_LOCK: plain and in-stack queued acquisition.
//
// A KSPIN_LOCK holds the number of its record. Zero-filled memory counts as an initialised lock, as it does on Windows.
// A thread that finds the lock taken waits until it is released and tries again; whoever is scheduled first gets it.
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/mutant.h"

namespace nmrfuzz::kernel {
namespace {

// The record behind a lock; nullptr after a breach.
[[gnu::always_inline]] inline Object* record_of(Kernel& kernel, Routine routine, PKSPIN_LOCK lock) {
  if (!kernel.probe(routine, lock, sizeof *lock)) {
    return nullptr;
  }
  if (*lock == 0) {
    Object& object = kernel.add_object(ObjectKind::kSpinLock, lock);
    *lock = kernel.number_of(object);
    return &object;
  }
  Object* const object = kernel.objects().find(static_cast<ObjectNumber>(*lock), lock);
  if (object == nullptr || object->kind != ObjectKind::kSpinLock) {
    kernel.breach(routine, Outcome::kLockUninitialized);
    return nullptr;
  }
  return object;
}

// Takes the lock for the current thread, which is at DISPATCH_LEVEL or above.
[[gnu::always_inline]] inline void acquire(Kernel& kernel, Routine routine, PKSPIN_LOCK lock) {
  Object* const object = record_of(kernel, routine, lock);
  if (object == nullptr) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(routine, number);
  const ThreadNumber self = kernel.scheduler().current().number;
  if (object->owner == self && !is_mutant(Mutant::kSpinLockIsRecursive)) {
    kernel.breach(routine, Outcome::kLockRecursive, number);
    return;
  }
  while (object->owner != 0 && !is_mutant(Mutant::kSpinLockAdmitsTwo)) {
    kernel.block_on(number);
  }
  if (object->kind != ObjectKind::kSpinLock) {  // freed at the point or while this thread was waiting
    kernel.breach(routine, Outcome::kFreedObject, number);
    return;
  }
  object->owner = self;
  ++kernel.thread_state().locks_held;
  kernel.called(routine, number);
}

[[gnu::always_inline]] inline void release(Kernel& kernel, Routine routine, PKSPIN_LOCK lock) {
  Object* const object = record_of(kernel, routine, lock);
  if (object == nullptr) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (object->owner != kernel.scheduler().current().number && !is_mutant(Mutant::kReleasesForeignSpinLock)) {
    kernel.breach(routine, Outcome::kLockNotOwned, number);
    return;
  }
  object->owner = 0;
  --kernel.thread_state().locks_held;
  kernel.called(routine, number);
  if (kernel.has_waiters(*object)) {
    kernel.wake_all(number);
  }
}

[[gnu::always_inline]] inline KIRQL acquire_raising(Routine routine, PKSPIN_LOCK lock) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  const KIRQL old = kernel.irql();
  kernel.set_irql(is_mutant(Mutant::kAcquiresAtCallersLevel) ? old : kDispatchLevel);
  acquire(kernel, routine, lock);
  return old;
}

// A release is where others may go first: the point is behind it, at the restored level.
[[gnu::always_inline]] inline void release_lowering(Routine routine, PKSPIN_LOCK lock, KIRQL level) {
  Kernel& kernel = current_kernel();
  if (kernel.irql() < kDispatchLevel) {
    kernel.breach(routine, Outcome::kIrqlTooLow);
  }
  release(kernel, routine, lock);
  if (level > kernel.irql()) {
    kernel.breach(routine, Outcome::kIrqlRaisedByLower, 0, kernel.irql(), level);
  }
  if (!is_mutant(Mutant::kStaysRaised)) {
    kernel.set_irql(level);
  }
  kernel.point(routine);
}

void acquire_at_dispatch(Routine routine, PKSPIN_LOCK lock) {
  Kernel& kernel = current_kernel();
  if (kernel.irql() < kDispatchLevel) {
    kernel.breach(routine, Outcome::kIrqlTooLow);
  }
  acquire(kernel, routine, lock);
}

void release_at_dispatch(Routine routine, PKSPIN_LOCK lock) {
  Kernel& kernel = current_kernel();
  if (kernel.irql() < kDispatchLevel) {
    kernel.breach(routine, Outcome::kIrqlTooLow);
  }
  release(kernel, routine, lock);
  kernel.point(routine);
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

VOID KeInitializeSpinLock(PKSPIN_LOCK SpinLock) {
  Kernel& kernel = current_kernel();
  if (kernel.probe(Routine::KeInitializeSpinLock, SpinLock, sizeof *SpinLock)) {
    *SpinLock = kernel.number_of(kernel.add_object(ObjectKind::kSpinLock, SpinLock));
    kernel.called(Routine::KeInitializeSpinLock, static_cast<ObjectNumber>(*SpinLock));
  }
}

KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock) {
  return acquire_raising(Routine::KeAcquireSpinLock, SpinLock);
}

VOID KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql) {
  release_lowering(Routine::KeReleaseSpinLock, SpinLock, NewIrql);
}

VOID KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock) {
  acquire_at_dispatch(Routine::KeAcquireSpinLockAtDpcLevel, SpinLock);
}

VOID KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock) {
  release_at_dispatch(Routine::KeReleaseSpinLockFromDpcLevel, SpinLock);
}

BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock) {
  constexpr Routine kRoutine = Routine::KeTryToAcquireSpinLockAtDpcLevel;
  Kernel& kernel = current_kernel();
  if (kernel.irql() < kDispatchLevel) {
    kernel.breach(kRoutine, Outcome::kIrqlTooLow);
  }
  Object* const object = record_of(kernel, kRoutine, SpinLock);
  if (object == nullptr) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(kRoutine, number);
  const bool taken = object->owner == 0;
  if (taken) {
    object->owner = kernel.scheduler().current().number;
    ++kernel.thread_state().locks_held;
  }
  kernel.called(kRoutine, number, taken ? 1 : 0);
  return taken ? TRUE : FALSE;
}

BOOLEAN KeTestSpinLock(PKSPIN_LOCK SpinLock) {
  constexpr Routine kRoutine = Routine::KeTestSpinLock;
  Kernel& kernel = current_kernel();
  Object* const object = record_of(kernel, kRoutine, SpinLock);
  if (object == nullptr) {
    return TRUE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(kRoutine, number, Access::kRead);
  const bool available = object->owner == 0;
  kernel.called(kRoutine, number, available ? 1 : 0);
  return available ? TRUE : FALSE;
}

VOID KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle) {
  constexpr Routine kRoutine = Routine::KeAcquireInStackQueuedSpinLock;
  if (current_kernel().probe(kRoutine, LockHandle, sizeof *LockHandle)) {
    LockHandle->OldIrql = acquire_raising(kRoutine, SpinLock);
    LockHandle->LockQueue.Lock = SpinLock;
  }
}

VOID KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE LockHandle) {
  constexpr Routine kRoutine = Routine::KeReleaseInStackQueuedSpinLock;
  if (current_kernel().probe(kRoutine, LockHandle, sizeof *LockHandle)) {
    release_lowering(kRoutine, LockHandle->LockQueue.Lock, LockHandle->OldIrql);
  }
}

VOID KeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle) {
  constexpr Routine kRoutine = Routine::KeAcquireInStackQueuedSpinLockAtDpcLevel;
  if (current_kernel().probe(kRoutine, LockHandle, sizeof *LockHandle)) {
    acquire_at_dispatch(kRoutine, SpinLock);
    LockHandle->LockQueue.Lock = SpinLock;
  }
}

VOID KeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE LockHandle) {
  constexpr Routine kRoutine = Routine::KeReleaseInStackQueuedSpinLockFromDpcLevel;
  if (current_kernel().probe(kRoutine, LockHandle, sizeof *LockHandle)) {
    release_at_dispatch(kRoutine, LockHandle->LockQueue.Lock);
  }
}

}  // extern "C"
