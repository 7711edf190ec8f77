// rundown.cpp - EX_RUNDOWN_REF, plain and cache-aware: holders come and go until somebody waits for the last one.
//
// An EX_RUNDOWN_REF holds the number of its record; zero-filled memory counts as initialised, as it does on Windows.
// Record: count = acquisitions in force; flags = kRunDown from the moment of the first wait until it is re-initialised.
// States:  active -> running down (wait, count > 0) -> run down (count = 0) -> active (re-initialise)
// In the last two an acquisition fails. A release may come from another thread than the acquisition.
// Sources: documentation pages "Run-Down Protection", "ExAcquireRundownProtection", "ExReleaseRundownProtection",
// "ExWaitForRundownProtectionRelease", "ExReInitializeRundownProtection", "ExRundownCompleted",
// "ExAllocateCacheAwareRundownProtection", "ExSizeOfRundownProtectionCacheAware".
#include <ntddk.h>

#include <limits>

#include "kernel/kernel.h"
#include "kernel/lock_record.h"
#include "kernel/mutant.h"
#include "kernel/pool_routines.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr std::uint8_t kRunDown = 1;

bool is_cache_aware(ObjectKind kind) { return kind == ObjectKind::kCacheAwareRundown; }

Object* record_of(Kernel& kernel, Routine routine, PEX_RUNDOWN_REF reference) {
  kernel.check_irql(routine);
  return record_or_new(kernel, routine, reference, reference != nullptr ? &reference->Count : nullptr,
                       ObjectKind::kRundown, Outcome::kUninitializedObject);
}

Object* record_of(Kernel& kernel, Routine routine, PEX_RUNDOWN_REF_CACHE_AWARE reference) {
  kernel.check_irql(routine);
  if (!kernel.probe(routine, reference, sizeof *reference)) {
    return nullptr;
  }
  return kernel.find(routine, reference->ObjectNumber, reference, is_cache_aware);
}

// A scheduling point. Whether the reference is still there behind it.
bool reach(Kernel& kernel, Routine routine, const Object* object) {
  if (object == nullptr) {
    return false;
  }
  const ObjectNumber number = kernel.number_of(*object);
  kernel.point(routine, number);
  if (object->kind == ObjectKind::kNone) {
    kernel.breach(routine, Outcome::kFreedObject, number);
    return false;
  }
  return true;
}

BOOLEAN acquire(Kernel& kernel, Routine routine, Object* object, ULONG count) {
  if (!reach(kernel, routine, object)) {
    return FALSE;
  }
  const ObjectNumber number = kernel.number_of(*object);
  const auto room = static_cast<ULONG>(std::numeric_limits<std::int32_t>::max() - object->count);
  if (count > room) {
    kernel.breach(routine, Outcome::kBadArgumentValue, number, count, room);
    return FALSE;
  }
  const bool acquired = (object->flags & kRunDown) == 0 || is_mutant(Mutant::kAcquiresAfterRundown);
  if (acquired) {
    object->count += static_cast<std::int32_t>(count);
  }
  kernel.called(routine, number, acquired ? 1 : 0, count);
  return acquired ? TRUE : FALSE;
}

// Nothing looks at the module's structure once a waiter may run.
void release(Kernel& kernel, Routine routine, Object* object, ULONG count) {
  if (!reach(kernel, routine, object)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (count > static_cast<ULONG>(object->count) && !is_mutant(Mutant::kRundownUnderflows)) {
    kernel.breach(routine, Outcome::kRundownUnderflow, number, count, static_cast<ULONG>(object->count));
    return;
  }
  object->count -= static_cast<std::int32_t>(count);
  kernel.called(routine, number, 0, count);
  if (object->count == 0) {
    kernel.wake_all(number);
  }
  kernel.point(routine);
}

void wait(Kernel& kernel, Routine routine, Object* object) {
  if (!reach(kernel, routine, object)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  object->flags |= kRunDown;
  if (object->count == 0 || is_mutant(Mutant::kRundownWaitsForNobody)) {
    kernel.called(routine, number);
    return;
  }
  kernel.called(routine, number, kStatusPending, static_cast<std::uint64_t>(object->count));
  while (object->count != 0) {
    kernel.block_on(number);
  }
  kernel.write(trace::EventKind::kReturn, routine, number);
}

// The old object has been run down: the reference goes over to the state of `flags`.
void leave_old_object(Kernel& kernel, Routine routine, Object* object, std::uint8_t flags) {
  if (!reach(kernel, routine, object)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if (object->count != 0) {
    kernel.breach(routine, Outcome::kRundownFreedWhileHeld, number);
  } else if ((object->flags & kRunDown) == 0) {
    kernel.breach(routine, Outcome::kBadArgumentValue, number);
  }
  object->count = 0;
  object->flags = flags;
  kernel.called(routine, number);
}

// A new record for the structure at `address`, whose field may hold the number of an old one.
ObjectNumber initialize(Kernel& kernel, Routine routine, ObjectKind kind, const void* address,
                        ObjectNumber old_number) {
  Object* const old = kernel.objects().find(old_number, address);
  if (old != nullptr && old->kind == kind) {
    const Outcome outcome = kernel.destroy_object(*old);
    if (outcome != Outcome::kOk) {
      kernel.breach(routine, outcome, old_number);
    }
  }
  const ObjectNumber number = kernel.number_of(kernel.add_object(kind, address));
  kernel.called(routine, number);
  return number;
}

}  // namespace
}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

void ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExInitializeRundownProtection;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (kernel.probe(kRoutine, RunRef, sizeof *RunRef)) {
    RunRef->Count = initialize(kernel, kRoutine, ObjectKind::kRundown, RunRef, RunRef->ObjectNumber);
  }
}

void ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExReInitializeRundownProtection;
  Kernel& kernel = current_kernel();
  leave_old_object(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), 0);
}

BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExAcquireRundownProtection;
  Kernel& kernel = current_kernel();
  return acquire(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), 1);
}

BOOLEAN ExAcquireRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count) {
  constexpr Routine kRoutine = Routine::ExAcquireRundownProtectionEx;
  Kernel& kernel = current_kernel();
  return acquire(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), Count);
}

void ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExReleaseRundownProtection;
  Kernel& kernel = current_kernel();
  release(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), 1);
}

void ExReleaseRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count) {
  constexpr Routine kRoutine = Routine::ExReleaseRundownProtectionEx;
  Kernel& kernel = current_kernel();
  release(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), Count);
}

void ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExWaitForRundownProtectionRelease;
  Kernel& kernel = current_kernel();
  wait(kernel, kRoutine, record_of(kernel, kRoutine, RunRef));
}

void ExRundownCompleted(PEX_RUNDOWN_REF RunRef) {
  constexpr Routine kRoutine = Routine::ExRundownCompleted;
  Kernel& kernel = current_kernel();
  leave_old_object(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), kRunDown);
}

PEX_RUNDOWN_REF_CACHE_AWARE ExAllocateCacheAwareRundownProtection(POOL_TYPE PoolType, ULONG PoolTag) {
  constexpr Routine kRoutine = Routine::ExAllocateCacheAwareRundownProtection;
  Kernel& kernel = current_kernel();
  PoolRequest request;
  request.type = (PoolType & PagedPool) != 0 ? PoolType::kPaged : PoolType::kNonPaged;
  request.bytes = sizeof(EX_RUNDOWN_REF_CACHE_AWARE);
  request.tag = PoolTag;
  request.zero = true;
  auto* const reference = static_cast<PEX_RUNDOWN_REF_CACHE_AWARE>(allocate_block(kernel, kRoutine, request));
  if (reference != nullptr) {
    reference->ObjectNumber = initialize(kernel, kRoutine, ObjectKind::kCacheAwareRundown, reference, 0);
  }
  return reference;
}

void ExFreeCacheAwareRundownProtection(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware) {
  constexpr Routine kRoutine = Routine::ExFreeCacheAwareRundownProtection;
  Kernel& kernel = current_kernel();
  if (record_of(kernel, kRoutine, RunRefCacheAware) != nullptr) {
    free_block(kernel, kRoutine, RunRefCacheAware, 0);
  }
}

SIZE_T ExSizeOfRundownProtectionCacheAware(void) { return sizeof(EX_RUNDOWN_REF_CACHE_AWARE); }

void ExInitializeRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware, SIZE_T RunRefSize) {
  constexpr Routine kRoutine = Routine::ExInitializeRundownProtectionCacheAware;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (RunRefSize < sizeof *RunRefCacheAware) {
    kernel.breach(kRoutine, Outcome::kBadArgumentValue, 0, RunRefSize, sizeof *RunRefCacheAware);
    return;
  }
  if (kernel.probe(kRoutine, RunRefCacheAware, RunRefSize)) {
    RunRefCacheAware->ObjectNumber =
        initialize(kernel, kRoutine, ObjectKind::kCacheAwareRundown, RunRefCacheAware, RunRefCacheAware->ObjectNumber);
  }
}

void ExReInitializeRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware) {
  constexpr Routine kRoutine = Routine::ExReInitializeRundownProtectionCacheAware;
  Kernel& kernel = current_kernel();
  leave_old_object(kernel, kRoutine, record_of(kernel, kRoutine, RunRefCacheAware), 0);
}

BOOLEAN ExAcquireRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware) {
  constexpr Routine kRoutine = Routine::ExAcquireRundownProtectionCacheAware;
  Kernel& kernel = current_kernel();
  return acquire(kernel, kRoutine, record_of(kernel, kRoutine, RunRefCacheAware), 1);
}

BOOLEAN ExAcquireRundownProtectionCacheAwareEx(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware, ULONG Count) {
  constexpr Routine kRoutine = Routine::ExAcquireRundownProtectionCacheAwareEx;
  Kernel& kernel = current_kernel();
  return acquire(kernel, kRoutine, record_of(kernel, kRoutine, RunRefCacheAware), Count);
}

void ExReleaseRundownProtectionCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware) {
  constexpr Routine kRoutine = Routine::ExReleaseRundownProtectionCacheAware;
  Kernel& kernel = current_kernel();
  release(kernel, kRoutine, record_of(kernel, kRoutine, RunRefCacheAware), 1);
}

void ExReleaseRundownProtectionCacheAwareEx(PEX_RUNDOWN_REF_CACHE_AWARE RunRef, ULONG Count) {
  constexpr Routine kRoutine = Routine::ExReleaseRundownProtectionCacheAwareEx;
  Kernel& kernel = current_kernel();
  release(kernel, kRoutine, record_of(kernel, kRoutine, RunRef), Count);
}

void ExWaitForRundownProtectionReleaseCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRef) {
  constexpr Routine kRoutine = Routine::ExWaitForRundownProtectionReleaseCacheAware;
  Kernel& kernel = current_kernel();
  wait(kernel, kRoutine, record_of(kernel, kRoutine, RunRef));
}

void ExRundownCompletedCacheAware(PEX_RUNDOWN_REF_CACHE_AWARE RunRefCacheAware) {
  constexpr Routine kRoutine = Routine::ExRundownCompletedCacheAware;
  Kernel& kernel = current_kernel();
  leave_old_object(kernel, kRoutine, record_of(kernel, kRoutine, RunRefCacheAware), kRunDown);
}

}  // extern "C"
