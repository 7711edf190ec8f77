// dispatcher.h - objects that threads wait for: events, mutexes, semaphores; and the waits.
// Sources: documentation pages "Kernel Dispatcher Objects", "KeInitializeEvent", "KeSetEvent", "KeInitializeMutex",
// "KeReleaseMutex", "KeInitializeSemaphore", "KeWaitForSingleObject", "KeWaitForMultipleObjects".
#ifndef NMRFUZZ_DISPATCHER_H
#define NMRFUZZ_DISPATCHER_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

// Starts every object that can be waited for. ObjectNumber is the simulated kernel's: the number of its own record, 0 =
// never initialised. The other fields are the kernel's as well.
typedef struct _DISPATCHER_HEADER {
    UCHAR Type;
    UCHAR Reserved1[3];
    LONG SignalState;
    ULONG ObjectNumber;
    ULONG Reserved2;
    PVOID Reserved3;
} DISPATCHER_HEADER, *PDISPATCHER_HEADER;

typedef enum _EVENT_TYPE { NotificationEvent = 0, SynchronizationEvent = 1 } EVENT_TYPE;
typedef enum _TIMER_TYPE { NotificationTimer = 0, SynchronizationTimer = 1 } TIMER_TYPE;
typedef enum _WAIT_TYPE { WaitAll = 0, WaitAny = 1, WaitNotification = 2, WaitDequeue = 3 } WAIT_TYPE;

typedef enum _KWAIT_REASON {
    Executive = 0,
    FreePage,
    PageIn,
    PoolAllocation,
    DelayExecution,
    Suspended,
    UserRequest,
    WrExecutive,
    WrFreePage,
    WrPageIn,
    WrPoolAllocation,
    WrDelayExecution,
    WrSuspended,
    WrUserRequest,
    WrQueue = 15,
    MaximumWaitReason = 39
} KWAIT_REASON;

typedef struct _KEVENT {
    DISPATCHER_HEADER Header;
} KEVENT, *PKEVENT, *PRKEVENT;

typedef struct _KMUTANT {
    DISPATCHER_HEADER Header;
    LIST_ENTRY MutantListEntry;
    struct _KTHREAD *OwnerThread;
    BOOLEAN Abandoned;
    UCHAR ApcDisable;
} KMUTANT, *PKMUTANT, *PRKMUTANT, KMUTEX, *PKMUTEX, *PRKMUTEX;

typedef struct _KSEMAPHORE {
    DISPATCHER_HEADER Header;
    LONG Limit;
} KSEMAPHORE, *PKSEMAPHORE, *PRKSEMAPHORE;

typedef struct _KWAIT_BLOCK {
    LIST_ENTRY WaitListEntry;
    UCHAR WaitType;
    volatile UCHAR BlockState;
    USHORT WaitKey;
    ULONG Reserved;
    PVOID Thread;
    PVOID Object;
    PVOID SparePtr;
} KWAIT_BLOCK, *PKWAIT_BLOCK, *PRKWAIT_BLOCK;

#ifdef NMRFUZZ_MOCK
// A thread object is waited for by its address; the rest of it lives in the simulated kernel's own record.
struct _KTHREAD {
    DISPATCHER_HEADER Header;
};
#endif

#define IO_NO_INCREMENT 0
#define EVENT_INCREMENT 1
#define SEMAPHORE_INCREMENT 1
#define MUTANT_INCREMENT 1
#define THREAD_WAIT_OBJECTS 3
#define MAXIMUM_WAIT_OBJECTS 64

// Initialise: any IRQL. Set, reset, clear, read: <= DISPATCH_LEVEL; Wait = TRUE of KeSetEvent only at PASSIVE_LEVEL.
void KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State);
LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait);
LONG KeResetEvent(PRKEVENT Event);
void KeClearEvent(PRKEVENT Event);
LONG KeReadStateEvent(PRKEVENT Event);

// Initialise: any IRQL. Release, read: <= DISPATCH_LEVEL. Acquired by a wait, recursive, owned by a thread.
void KeInitializeMutex(PRKMUTEX Mutex, ULONG Level);
LONG KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait);
LONG KeReadStateMutex(PRKMUTEX Mutex);

// Initialise: any IRQL. Release, read: <= DISPATCH_LEVEL.
void KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit);
LONG KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait);
LONG KeReadStateSemaphore(PRKSEMAPHORE Semaphore);

// <= APC_LEVEL; at DISPATCH_LEVEL only with a timeout of zero. STATUS_TIMEOUT is a success code.
NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
                               PLARGE_INTEGER Timeout);
NTSTATUS KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType, KWAIT_REASON WaitReason,
                                  KPROCESSOR_MODE WaitMode, BOOLEAN Alertable, PLARGE_INTEGER Timeout,
                                  PKWAIT_BLOCK WaitBlockArray);
#define KeWaitForMutexObject KeWaitForSingleObject

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(DISPATCHER_HEADER) == 24 && sizeof(KEVENT) == 24, "layout");
NMRFUZZ_STATIC_ASSERT(sizeof(KMUTEX) == 56 && sizeof(KSEMAPHORE) == 32 && sizeof(KWAIT_BLOCK) == 48, "layout");

#endif
