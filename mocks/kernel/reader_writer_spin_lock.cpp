// reader_writer_spin_lock.cpp - EX_SPIN_LOCK: spin locks with shared and exclusive access.
//
// An EX_SPIN_LOCK holds the number of its record; 0 is a free lock, there is no routine to initialise one.
// Sources: documentation pages "Reader-Writer Spin Locks", "ExAcquireSpinLockShared", "ExAcquireSpinLockExclusive",
// "ExTryConvertSharedSpinLockExclusive".
#include <ntddk.h>

#include "kernel/kernel.h"
#include "kernel/lock_record.h"
#include "kernel/reader_writer.h"

namespace nmrfuzz::kernel {
namespace {

enum class Mode : bool { kShared, kExclusive };

Object* record_of(Kernel& kernel, Routine routine, PEX_SPIN_LOCK lock) {
  auto* const field = const_cast<LONG*>(lock);
  return record_or_new(kernel, routine, field, field, ObjectKind::kReaderWriterSpinLock, Outcome::kLockUninitialized);
}

void check_at_dispatch(Kernel& kernel, Routine routine) {
  if (kernel.irql() < kDispatchLevel) {
    kernel.breach(routine, Outcome::kIrqlTooLow);
  }
}

void acquire(Kernel& kernel, Routine routine, PEX_SPIN_LOCK lock, Mode mode) {
  Object* const object = record_of(kernel, routine, lock);
  if (object == nullptr) {
    return;
  }
  if (mode == Mode::kShared) {
    acquire_shared(kernel, routine, *object, SharedRecursion::kForbidden);
  } else {
    acquire_exclusive(kernel, routine, *object);
  }
}

void release(Kernel& kernel, Routine routine, PEX_SPIN_LOCK lock, Mode mode) {
  check_at_dispatch(kernel, routine);
  Object* const object = record_of(kernel, routine, lock);
  if (object == nullptr) {
    return;
  }
  if (mode == Mode::kShared) {
    release_shared(kernel, routine, *object);
  } else {
    release_exclusive(kernel, routine, *object);
  }
}

KIRQL acquire_raising(Routine routine, PEX_SPIN_LOCK lock, Mode mode) {
  Kernel& kernel = current_kernel();
  kernel.check_irql(routine);
  const KIRQL old = kernel.irql();
  kernel.set_irql(kDispatchLevel);
  acquire(kernel, routine, lock, mode);
  return old;
}

void release_lowering(Routine routine, PEX_SPIN_LOCK lock, Mode mode, KIRQL level) {
  Kernel& kernel = current_kernel();
  release(kernel, routine, lock, mode);
  if (level > kernel.irql()) {
    kernel.breach(routine, Outcome::kIrqlRaisedByLower, 0, kernel.irql(), level);
  }
  kernel.set_irql(level);
  kernel.point(routine);
}

void acquire_at_dispatch(Routine routine, PEX_SPIN_LOCK lock, Mode mode) {
  Kernel& kernel = current_kernel();
  check_at_dispatch(kernel, routine);
  acquire(kernel, routine, lock, mode);
}

void release_at_dispatch(Routine routine, PEX_SPIN_LOCK lock, Mode mode) {
  Kernel& kernel = current_kernel();
  release(kernel, routine, lock, mode);
  kernel.point(routine);
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

KIRQL ExAcquireSpinLockShared(PEX_SPIN_LOCK SpinLock) {
  return acquire_raising(Routine::ExAcquireSpinLockShared, SpinLock, Mode::kShared);
}

void ExReleaseSpinLockShared(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql) {
  release_lowering(Routine::ExReleaseSpinLockShared, SpinLock, Mode::kShared, OldIrql);
}

KIRQL ExAcquireSpinLockExclusive(PEX_SPIN_LOCK SpinLock) {
  return acquire_raising(Routine::ExAcquireSpinLockExclusive, SpinLock, Mode::kExclusive);
}

void ExReleaseSpinLockExclusive(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql) {
  release_lowering(Routine::ExReleaseSpinLockExclusive, SpinLock, Mode::kExclusive, OldIrql);
}

void ExAcquireSpinLockSharedAtDpcLevel(PEX_SPIN_LOCK SpinLock) {
  acquire_at_dispatch(Routine::ExAcquireSpinLockSharedAtDpcLevel, SpinLock, Mode::kShared);
}

void ExReleaseSpinLockSharedFromDpcLevel(PEX_SPIN_LOCK SpinLock) {
  release_at_dispatch(Routine::ExReleaseSpinLockSharedFromDpcLevel, SpinLock, Mode::kShared);
}

void ExAcquireSpinLockExclusiveAtDpcLevel(PEX_SPIN_LOCK SpinLock) {
  acquire_at_dispatch(Routine::ExAcquireSpinLockExclusiveAtDpcLevel, SpinLock, Mode::kExclusive);
}

void ExReleaseSpinLockExclusiveFromDpcLevel(PEX_SPIN_LOCK SpinLock) {
  release_at_dispatch(Routine::ExReleaseSpinLockExclusiveFromDpcLevel, SpinLock, Mode::kExclusive);
}

LONG ExTryConvertSharedSpinLockExclusive(PEX_SPIN_LOCK SpinLock) {
  constexpr Routine kRoutine = Routine::ExTryConvertSharedSpinLockExclusive;
  Kernel& kernel = current_kernel();
  check_at_dispatch(kernel, kRoutine);
  Object* const object = record_of(kernel, kRoutine, SpinLock);
  return object != nullptr && try_convert_to_exclusive(kernel, kRoutine, *object) ? TRUE : FALSE;
}

}  // extern "C"
