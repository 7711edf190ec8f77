#include "race/edges.h"

namespace nmrfuzz::race {

using kernel::Routine;

Edge edge_of(Routine routine) {
  switch (routine) {
    // Locks.
    case Routine::KeAcquireSpinLock:
    case Routine::KeAcquireSpinLockAtDpcLevel:
    case Routine::KeAcquireInStackQueuedSpinLock:
    case Routine::KeAcquireInStackQueuedSpinLockAtDpcLevel:
    case Routine::ExAcquireSpinLockExclusive:
    case Routine::ExAcquireSpinLockExclusiveAtDpcLevel:
    case Routine::ExAcquireFastMutex:
    case Routine::ExAcquireFastMutexUnsafe:
    case Routine::ExAcquirePushLockExclusive:
      return Edge::kAcquire;
    case Routine::KeTryToAcquireSpinLockAtDpcLevel:
    case Routine::ExTryConvertSharedSpinLockExclusive:
    case Routine::ExTryToAcquireFastMutex:
    case Routine::KeReadStateEvent:
    case Routine::KeReadStateTimer:
    case Routine::KeReadStateSemaphore:
    case Routine::KeReadStateMutex:
    case Routine::KeResetEvent:
      return Edge::kAcquireIfTaken;
    case Routine::KeReleaseSpinLock:
    case Routine::KeReleaseSpinLockFromDpcLevel:
    case Routine::KeReleaseInStackQueuedSpinLock:
    case Routine::KeReleaseInStackQueuedSpinLockFromDpcLevel:
    case Routine::ExReleaseSpinLockExclusive:
    case Routine::ExReleaseSpinLockExclusiveFromDpcLevel:
    case Routine::ExReleaseFastMutex:
    case Routine::ExReleaseFastMutexUnsafe:
    case Routine::ExReleasePushLockExclusive:
    case Routine::KeReleaseMutex:
      return Edge::kRelease;
    case Routine::ExAcquireSpinLockShared:
    case Routine::ExAcquireSpinLockSharedAtDpcLevel:
    case Routine::ExAcquirePushLockShared:
      return Edge::kAcquireShared;
    case Routine::ExReleaseSpinLockShared:
    case Routine::ExReleaseSpinLockSharedFromDpcLevel:
    case Routine::ExReleasePushLockShared:
      return Edge::kReleaseShared;

    // Rundown protection: holders before whoever waited for them, and re-initialisation before new holders.
    case Routine::ExAcquireRundownProtection:
    case Routine::ExAcquireRundownProtectionEx:
    case Routine::ExAcquireRundownProtectionCacheAware:
    case Routine::ExAcquireRundownProtectionCacheAwareEx:
      return Edge::kAcquireShared;
    case Routine::ExReleaseRundownProtection:
    case Routine::ExReleaseRundownProtectionEx:
    case Routine::ExReleaseRundownProtectionCacheAware:
    case Routine::ExReleaseRundownProtectionCacheAwareEx:
      return Edge::kReleaseShared;
    case Routine::ExWaitForRundownProtectionRelease:
    case Routine::ExWaitForRundownProtectionReleaseCacheAware:
      return Edge::kAcquireIfWaited;
    case Routine::ExReInitializeRundownProtection:
    case Routine::ExReInitializeRundownProtectionCacheAware:
    case Routine::ExRundownCompleted:
    case Routine::ExRundownCompletedCacheAware:
      return Edge::kBoth;

    // Dispatcher objects.
    case Routine::KeSetEvent:
    case Routine::KeReleaseSemaphore:
      return Edge::kRelease;
    case Routine::KeWaitForSingleObject:
      return Edge::kAcquireIfWaited;

    // Deferred work.
    case Routine::KeSetTimer:
    case Routine::KeSetTimerEx:
    case Routine::KeSetCoalescableTimer:
      return Edge::kReleaseWithLink;
    case Routine::KeInsertQueueDpc:  // also where it is queued already: the run to come is after both
    case Routine::ExSetTimer:
    case Routine::KeInitializeDpc:
    case Routine::KeInitializeThreadedDpc:
      return Edge::kRelease;
    case Routine::ExDeleteTimer:
      return Edge::kAcquireIfWaited;
    case Routine::KeFlushQueuedDpcs:
      return Edge::kFlush;

    // References: the last one out sees what the others did.
    case Routine::ObDereferenceObject:
      return Edge::kBoth;

    case Routine::MemoryBarrier:
      return Edge::kFence;
    default:
      return Edge::kNone;
  }
}

}  // namespace nmrfuzz::race
