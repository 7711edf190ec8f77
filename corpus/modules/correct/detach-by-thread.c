// nmrfuzz: module
// summary: Provider whose detaches are queued to a system thread that completes them; Unload waits for the thread object.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

#include <ntddk.h>
#include <netioddk.h>

#define REAPER_POOL_TAG 'paeR'

typedef struct _REAPER_CLIENT {
    LIST_ENTRY Link; // In ReaperQueue, from the detach callback until the thread takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} REAPER_CLIENT, *PREAPER_CLIENT;

typedef struct _REAPER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} REAPER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ReaperUnload;
static KSTART_ROUTINE ReaperThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN ReaperAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ReaperDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ReaperCleanupBindingContext;

static const NPIID ReaperNpiId = { 0xa73297b5, 0x03d1, 0x533d, { 0x9d, 0x4b, 0x39, 0xac, 0xa6, 0xa7, 0x08, 0x43 } };
static const NPI_MODULEID ReaperModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xcc96f6bc, 0x3351, 0x585e, { 0xb8, 0xc3, 0x7c, 0xad, 0xa1, 0x04, 0x0b, 0xdb } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ReaperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ReaperAttachClient,
    ReaperDetachClient,
    ReaperCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ReaperNpiId, &ReaperModuleId, 0, NULL }
};

static HANDLE ReaperProviderHandle;
static PKTHREAD ReaperThreadObject;
static KEVENT ReaperWake; // Synchronization event: the queue or ReaperStopping has changed.
static KSPIN_LOCK ReaperLock;
_Guarded_by_(ReaperLock) static LIST_ENTRY ReaperQueue;
_Guarded_by_(ReaperLock) static BOOLEAN ReaperStopping;

static ULONG NTAPI
ReaperVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const REAPER_PROVIDER_DISPATCH ReaperDispatch = { ReaperVersion };

// Completes everything that is queued. Returns FALSE once the thread shall end.
static BOOLEAN
ReaperDrain(VOID)
{
    PREAPER_CLIENT Client;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    for (;;) {
        Client = NULL;
        KeAcquireSpinLock(&ReaperLock, &OldIrql);
        Stopping = ReaperStopping;
        if (!IsListEmpty(&ReaperQueue)) {
            Client = CONTAINING_RECORD(RemoveHeadList(&ReaperQueue), REAPER_CLIENT, Link);
        }
        KeReleaseSpinLock(&ReaperLock, OldIrql);

        if (Client == NULL) {
            return !Stopping;
        }

        // Cleanup may run in here, so the client is gone after it. No lock is held: cleanup could run on any thread.
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
ReaperThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&ReaperWake, Executive, KernelMode, FALSE, NULL);
    } while (ReaperDrain());

    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ReaperAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PREAPER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PREAPER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), REAPER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ReaperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ReaperDetachClient(PVOID ProviderBindingContext)
{
    PREAPER_CLIENT Client = (PREAPER_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ReaperLock, &OldIrql);
    InsertTailList(&ReaperQueue, &Client->Link);
    KeReleaseSpinLock(&ReaperLock, OldIrql);

    KeSetEvent(&ReaperWake, IO_NO_INCREMENT, FALSE);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
ReaperCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, REAPER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
ReaperStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&ReaperWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&ReaperLock);
    InitializeListHead(&ReaperQueue);
    ReaperStopping = FALSE;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, ReaperThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&ReaperThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
ReaperStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&ReaperLock, &OldIrql);
    ReaperStopping = TRUE;
    KeReleaseSpinLock(&ReaperLock, OldIrql);
    KeSetEvent(&ReaperWake, IO_NO_INCREMENT, FALSE);

    // The thread object, not an event: only that is signalled when the thread has left the driver's code.
    KeWaitForSingleObject(ReaperThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(ReaperThreadObject);
}

_Use_decl_annotations_
static VOID
ReaperUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The thread goes last: the detaches that this sets off depend on it.
    if (NmrDeregisterProvider(ReaperProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ReaperProviderHandle);
    }

    ReaperStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ReaperUnload;

    Status = ReaperStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&ReaperCharacteristics, NULL, &ReaperProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ReaperStopThread();
    }

    return Status;
}
