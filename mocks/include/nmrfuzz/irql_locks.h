// irql_locks.h - IRQL, spin locks, fast mutexes, push locks, critical and guarded regions.
// Sources: documentation pages "Managing Hardware Priorities", "KeRaiseIrql", "KeAcquireSpinLock",
// "KeAcquireInStackQueuedSpinLock", "ExAcquireSpinLockExclusive", "ExAcquireFastMutex", "ExInitializePushLock",
// "ExAcquirePushLockExclusiveEx", "KeEnterCriticalRegion", "KeEnterGuardedRegion".
#ifndef NMRFUZZ_IRQL_LOCKS_H
#define NMRFUZZ_IRQL_LOCKS_H

#include "nmrfuzz/dispatcher.h"

NMRFUZZ_BEGIN_C

#define PASSIVE_LEVEL 0
#define LOW_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2
#define CMCI_LEVEL 5
#define CLOCK_LEVEL 13
#define IPI_LEVEL 14
#define DRS_LEVEL 14
#define POWER_LEVEL 14
#define PROFILE_LEVEL 15
#define HIGH_LEVEL 15

// IRQL: any; a raise never lowers, a lower never raises.
KIRQL KeGetCurrentIrql(void);
KIRQL KfRaiseIrql(KIRQL NewIrql);
KIRQL KeRaiseIrqlToDpcLevel(void);
void KeLowerIrql(KIRQL NewIrql);
#define KeRaiseIrql(new_irql, old_irql) (*(old_irql) = KfRaiseIrql(new_irql))

// Spin locks. Initialise: any IRQL. Acquire: <= DISPATCH_LEVEL. Release: DISPATCH_LEVEL. AtDpcLevel: >= DISPATCH_LEVEL.
void KeInitializeSpinLock(PKSPIN_LOCK SpinLock);
KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock);
void KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql);
void KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock);
void KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock);
BOOLEAN KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock);
BOOLEAN KeTestSpinLock(PKSPIN_LOCK SpinLock);
#define KeAcquireSpinLock(lock, old_irql) (*(old_irql) = KeAcquireSpinLockRaiseToDpc(lock))

typedef struct _KSPIN_LOCK_QUEUE {
    struct _KSPIN_LOCK_QUEUE *volatile Next;
    PKSPIN_LOCK volatile Lock;
} KSPIN_LOCK_QUEUE, *PKSPIN_LOCK_QUEUE;

typedef struct _KLOCK_QUEUE_HANDLE {
    KSPIN_LOCK_QUEUE LockQueue;
    KIRQL OldIrql;
    ULONG ObjectNumber; // the simulated kernel's: number of the acquisition
} KLOCK_QUEUE_HANDLE, *PKLOCK_QUEUE_HANDLE;

// IRQL as for spin locks; the handle is the acquirer's own.
void KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle);
void KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE LockHandle);
void KeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle);
void KeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE LockHandle);

// Reader/writer spin locks: 0 is free. Acquire: <= DISPATCH_LEVEL. Release: DISPATCH_LEVEL. Not recursive in any mode.
typedef volatile LONG EX_SPIN_LOCK, *PEX_SPIN_LOCK;
KIRQL ExAcquireSpinLockShared(PEX_SPIN_LOCK SpinLock);
void ExReleaseSpinLockShared(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql);
KIRQL ExAcquireSpinLockExclusive(PEX_SPIN_LOCK SpinLock);
void ExReleaseSpinLockExclusive(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql);
void ExAcquireSpinLockSharedAtDpcLevel(PEX_SPIN_LOCK SpinLock);
void ExReleaseSpinLockSharedFromDpcLevel(PEX_SPIN_LOCK SpinLock);
void ExAcquireSpinLockExclusiveAtDpcLevel(PEX_SPIN_LOCK SpinLock);
void ExReleaseSpinLockExclusiveFromDpcLevel(PEX_SPIN_LOCK SpinLock);
LONG ExTryConvertSharedSpinLockExclusive(PEX_SPIN_LOCK SpinLock);

// Fast mutexes: acquire <= APC_LEVEL, holds APC_LEVEL; release at APC_LEVEL. The Unsafe pair: APC_LEVEL or in a
// critical region. Not recursive.
typedef struct _FAST_MUTEX {
    LONG Count;
    PVOID Owner;
    ULONG Contention;
    KEVENT Event;
    ULONG OldIrql;
    ULONG ObjectNumber; // the simulated kernel's
} FAST_MUTEX, *PFAST_MUTEX;

void ExInitializeFastMutex(PFAST_MUTEX FastMutex);
void ExAcquireFastMutex(PFAST_MUTEX FastMutex);
void ExReleaseFastMutex(PFAST_MUTEX FastMutex);
BOOLEAN ExTryToAcquireFastMutex(PFAST_MUTEX FastMutex);
void ExAcquireFastMutexUnsafe(PFAST_MUTEX FastMutex);
void ExReleaseFastMutexUnsafe(PFAST_MUTEX FastMutex);

// Push locks: <= APC_LEVEL, normal kernel APCs off. Not recursive.
typedef union _EX_PUSH_LOCK {
    ULONG ObjectNumber; // the simulated kernel's
    ULONG_PTR Value;
    PVOID Ptr;
} EX_PUSH_LOCK, *PEX_PUSH_LOCK;

#define EX_DEFAULT_PUSH_LOCK_FLAGS 0
void ExInitializePushLock(PEX_PUSH_LOCK PushLock);
void ExAcquirePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
void ExAcquirePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
void ExReleasePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
void ExReleasePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
#define ExAcquirePushLockExclusive(lock) ExAcquirePushLockExclusiveEx(lock, EX_DEFAULT_PUSH_LOCK_FLAGS)
#define ExAcquirePushLockShared(lock) ExAcquirePushLockSharedEx(lock, EX_DEFAULT_PUSH_LOCK_FLAGS)
#define ExReleasePushLockExclusive(lock) ExReleasePushLockExclusiveEx(lock, EX_DEFAULT_PUSH_LOCK_FLAGS)
#define ExReleasePushLockShared(lock) ExReleasePushLockSharedEx(lock, EX_DEFAULT_PUSH_LOCK_FLAGS)

// <= APC_LEVEL; the two questions: <= DISPATCH_LEVEL.
void KeEnterCriticalRegion(void);
void KeLeaveCriticalRegion(void);
void KeEnterGuardedRegion(void);
void KeLeaveGuardedRegion(void);
BOOLEAN KeAreApcsDisabled(void);
BOOLEAN KeAreAllApcsDisabled(void);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(KLOCK_QUEUE_HANDLE) == 24 && sizeof(FAST_MUTEX) == 56, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(EX_PUSH_LOCK) == 8 && sizeof(EX_SPIN_LOCK) == 4, "layout");

#endif
