// sampler.c - the timer decides when hooks and policies are due, the thread visits them. See hub.h.

#include "hub.h"

static KDEFERRED_ROUTINE HubSamplerDpc;
static KSTART_ROUTINE HubSamplerThread;

_Use_decl_annotations_
VOID
HubSamplerWake(VOID)
{
    KeSetEvent(&Hub.SamplerWake, IO_NO_INCREMENT, FALSE);
}

_Use_decl_annotations_
static VOID
HubSamplerDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    HubHookTickAtDpcLevel();
    HubPolicyTickAtDpcLevel();
    HubSamplerWake();
}

static VOID
HubSamplerVisitAll(VOID)
{
    HUB_RECORD_DATA Data;
    PHUB_POLICY Policy;
    PHUB_HOOK Hook;

    while ((Policy = HubPolicyBeginUse()) != NULL) {
        InterlockedIncrement64(&Policy->Visits);
        HubPolicyEndUse(Policy);
    }

    while ((Hook = HubHookBeginVisit()) != NULL) {
        Data.Time = KeQueryInterruptTime();
        Data.Bytes = InterlockedExchange64(&Hook->Bytes, 0);
        Data.HookId = Hook->Id;
        Data.PolicyCount = HubPolicyCount();
        HubHookEndVisit(Hook);

        HubRecordsAdd(&Data);
    }
}

_Use_decl_annotations_
static VOID
HubSamplerThread(PVOID StartContext)
{
    PVOID Events[] = { &Hub.SamplerStop, &Hub.SamplerWake };
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        Status = KeWaitForMultipleObjects(
            ARRAYSIZE(Events), Events, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
        if (Status == STATUS_WAIT_0) {
            break;
        }
        HubSamplerVisitAll();
    }

    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
NTSTATUS
HubSamplerStart(VOID)
{
    OBJECT_ATTRIBUTES Attributes;
    LARGE_INTEGER DueTime;
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&Hub.SamplerStop, NotificationEvent, FALSE);
    KeInitializeEvent(&Hub.SamplerWake, SynchronizationEvent, FALSE);

    InitializeObjectAttributes(&Attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, &Attributes, NULL, NULL, HubSamplerThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&Hub.SamplerThread, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);

    KeInitializeTimer(&Hub.Timer);
    KeInitializeDpc(&Hub.TimerDpc, HubSamplerDpc, NULL);
    DueTime.QuadPart = -(LONGLONG)HUB_SAMPLE_PERIOD_MS * 1000 * 10;
    KeSetTimerEx(&Hub.Timer, DueTime, HUB_SAMPLE_PERIOD_MS, &Hub.TimerDpc);
    Hub.TimerSet = TRUE;

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
VOID
HubSamplerStop(VOID)
{
    // The timer first, since its DPC wakes the thread; and the DPC may be queued already when the timer is cancelled.
    if (Hub.TimerSet) {
        KeCancelTimer(&Hub.Timer);
        KeFlushQueuedDpcs();
        Hub.TimerSet = FALSE;
    }

    if (Hub.SamplerThread != NULL) {
        KeSetEvent(&Hub.SamplerStop, IO_NO_INCREMENT, FALSE);
        KeWaitForSingleObject(Hub.SamplerThread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Hub.SamplerThread);
        Hub.SamplerThread = NULL;
    }
}
