// work_item.h - I/O work items, which hold their device object until the routine has returned, and executive work
// items, which hold nothing. Routines run at PASSIVE_LEVEL in a system worker thread.
// Sources: documentation pages "System Worker Threads", "IoAllocateWorkItem", "IoQueueWorkItem", "IoQueueWorkItemEx",
// "IoInitializeWorkItem", "IoUninitializeWorkItem", "IoSizeofWorkItem", "ExInitializeWorkItem", "ExQueueWorkItem".
#ifndef NMRFUZZ_WORK_ITEM_H
#define NMRFUZZ_WORK_ITEM_H

#include "nmrfuzz/types.h"

NMRFUZZ_BEGIN_C

typedef enum _WORK_QUEUE_TYPE {
    CriticalWorkQueue = 0,
    DelayedWorkQueue,
    HyperCriticalWorkQueue,
    NormalWorkQueue,
    BackgroundWorkQueue,
    RealTimeWorkQueue,
    SuperCriticalWorkQueue,
    MaximumWorkQueue,
    CustomPriorityWorkQueue = 32
} WORK_QUEUE_TYPE;

typedef struct _IO_WORKITEM IO_WORKITEM, *PIO_WORKITEM;
#ifdef NMRFUZZ_MOCK
// What IoInitializeWorkItem finds in the caller's memory; IoSizeofWorkItem is its size.
struct _IO_WORKITEM {
    ULONG ObjectNumber;
    ULONG Reserved1;
    PVOID Reserved2[7];
};
#endif

typedef void NTAPI IO_WORKITEM_ROUTINE(PDEVICE_OBJECT DeviceObject, PVOID Context);
typedef IO_WORKITEM_ROUTINE *PIO_WORKITEM_ROUTINE;
typedef void NTAPI IO_WORKITEM_ROUTINE_EX(PVOID IoObject, PVOID Context, PIO_WORKITEM IoWorkItem);
typedef IO_WORKITEM_ROUTINE_EX *PIO_WORKITEM_ROUTINE_EX;

// <= DISPATCH_LEVEL; initialise, uninitialise and sizeof: any IRQL.
PIO_WORKITEM IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject);
void IoFreeWorkItem(PIO_WORKITEM IoWorkItem);
void IoQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE WorkerRoutine, WORK_QUEUE_TYPE QueueType,
                     PVOID Context);
void IoQueueWorkItemEx(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine, WORK_QUEUE_TYPE QueueType,
                       PVOID Context);
void IoInitializeWorkItem(PVOID IoObject, PIO_WORKITEM IoWorkItem);
void IoUninitializeWorkItem(PIO_WORKITEM IoWorkItem);
ULONG IoSizeofWorkItem(void);

typedef void NTAPI WORKER_THREAD_ROUTINE(PVOID Parameter);
typedef WORKER_THREAD_ROUTINE *PWORKER_THREAD_ROUTINE;

typedef struct _WORK_QUEUE_ITEM {
    union {
        LIST_ENTRY List;
        struct {
            PVOID Reserved1;
            ULONG ObjectNumber; // the simulated kernel's; in List.Blink, which modules leave alone
            ULONG Reserved2;
        };
    };
    PWORKER_THREAD_ROUTINE WorkerRoutine;
    PVOID volatile Parameter;
} WORK_QUEUE_ITEM, *PWORK_QUEUE_ITEM;

// <= DISPATCH_LEVEL.
void ExInitializeWorkItem(PWORK_QUEUE_ITEM Item, PWORKER_THREAD_ROUTINE Routine, PVOID Context);
void ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType);

NMRFUZZ_END_C

NMRFUZZ_STATIC_ASSERT(sizeof(WORK_QUEUE_ITEM) == 32, "layout");

#endif
