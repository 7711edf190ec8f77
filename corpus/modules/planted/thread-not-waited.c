// nmrfuzz: module
// summary: Provider whose Unload waits for an event that its thread sets just before it ends, not for the thread.
// provides: 1
// consumes: 0
// expect: unload-running
// rule: R108
// needs: Unload returns between the event and the end of the thread
// interleaving: yes
// hardness: 1 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SWEEP_POOL_TAG 'pewS'

typedef struct _SWEEP_CLIENT {
    LIST_ENTRY Link; // In SweepQueue, from the detach callback until the thread takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SWEEP_CLIENT, *PSWEEP_CLIENT;

typedef struct _SWEEP_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SWEEP_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SweepUnload;
static KSTART_ROUTINE SweepThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SweepAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SweepDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SweepCleanupBindingContext;

static const NPIID SweepNpiId = { 0x2c8ab36e, 0x9cfa, 0x5a8d, { 0x9b, 0x07, 0xb0, 0x3e, 0x50, 0x5c, 0x0e, 0xd5 } };
static const NPI_MODULEID SweepModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9e44e669, 0x25fc, 0x516e, { 0x8a, 0x33, 0x72, 0x9b, 0x91, 0xcb, 0x3a, 0x3b } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SweepCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SweepAttachClient,
    SweepDetachClient,
    SweepCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SweepNpiId, &SweepModuleId, 0, NULL }
};

static HANDLE SweepProviderHandle;
static KEVENT SweepThreadDone;
static KEVENT SweepWake; // Synchronization event: the queue or SweepStopping has changed.
static KSPIN_LOCK SweepLock;
_Guarded_by_(SweepLock) static LIST_ENTRY SweepQueue;
_Guarded_by_(SweepLock) static BOOLEAN SweepStopping;

static ULONG NTAPI
SweepVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SWEEP_PROVIDER_DISPATCH SweepDispatch = { SweepVersion };

// Completes everything that is queued. Returns FALSE once the thread shall end.
static BOOLEAN
SweepDrain(VOID)
{
    PSWEEP_CLIENT Client;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    for (;;) {
        Client = NULL;
        KeAcquireSpinLock(&SweepLock, &OldIrql);
        Stopping = SweepStopping;
        if (!IsListEmpty(&SweepQueue)) {
            Client = CONTAINING_RECORD(RemoveHeadList(&SweepQueue), SWEEP_CLIENT, Link);
        }
        KeReleaseSpinLock(&SweepLock, OldIrql);

        if (Client == NULL) {
            return !Stopping;
        }

        // Cleanup may run in here, so the client is gone after it. No lock is held: cleanup could run on any thread.
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
SweepThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&SweepWake, Executive, KernelMode, FALSE, NULL);
    } while (SweepDrain());

    // Defect: with this Unload may return, and the rest of the function is no longer there.
    KeSetEvent(&SweepThreadDone, IO_NO_INCREMENT, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SweepAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSWEEP_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSWEEP_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SWEEP_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SweepDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SweepDetachClient(PVOID ProviderBindingContext)
{
    PSWEEP_CLIENT Client = (PSWEEP_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SweepLock, &OldIrql);
    InsertTailList(&SweepQueue, &Client->Link);
    KeReleaseSpinLock(&SweepLock, OldIrql);

    KeSetEvent(&SweepWake, IO_NO_INCREMENT, FALSE);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
SweepCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SWEEP_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
SweepStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&SweepWake, SynchronizationEvent, FALSE);
    KeInitializeEvent(&SweepThreadDone, NotificationEvent, FALSE);
    KeInitializeSpinLock(&SweepLock);
    InitializeListHead(&SweepQueue);
    SweepStopping = FALSE;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SweepThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    ZwClose(ThreadHandle);
    return STATUS_SUCCESS;
}

static VOID
SweepStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SweepLock, &OldIrql);
    SweepStopping = TRUE;
    KeReleaseSpinLock(&SweepLock, OldIrql);
    KeSetEvent(&SweepWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(&SweepThreadDone, Executive, KernelMode, FALSE, NULL);
}

_Use_decl_annotations_
static VOID
SweepUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The thread goes last: the detaches that this sets off depend on it.
    if (NmrDeregisterProvider(SweepProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SweepProviderHandle);
    }

    SweepStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SweepUnload;

    Status = SweepStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SweepCharacteristics, NULL, &SweepProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SweepStopThread();
    }

    return Status;
}
