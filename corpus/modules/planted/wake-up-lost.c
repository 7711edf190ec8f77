// nmrfuzz: module
// summary: Provider whose thread resets its wake-up after it has looked at the queue, instead of before.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R68
// needs: a client is detached between the look at the queue and the reset
// interleaving: yes
// hardness: 8 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PORTER_POOL_TAG 'troP'

typedef struct _PORTER_CLIENT {
    LIST_ENTRY Link; // In PorterQueue, from the detach callback until the thread takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} PORTER_CLIENT, *PPORTER_CLIENT;

typedef struct _PORTER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} PORTER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PorterUnload;
static KSTART_ROUTINE PorterThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PorterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PorterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PorterCleanupBindingContext;

static const NPIID PorterNpiId = { 0xf57c7af9, 0x368b, 0x53e7, { 0x8a, 0xc6, 0x84, 0xc6, 0x0b, 0xb9, 0xac, 0x40 } };
static const NPI_MODULEID PorterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5b823e79, 0x0379, 0x561a, { 0xb3, 0xa5, 0x78, 0x41, 0x42, 0x22, 0x53, 0xf6 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PorterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PorterAttachClient,
    PorterDetachClient,
    PorterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PorterNpiId, &PorterModuleId, 0, NULL }
};

static HANDLE PorterProviderHandle;
static PKTHREAD PorterThreadObject;
static KEVENT PorterWake; // Notification event: the queue or PorterStopping has changed.
static KSPIN_LOCK PorterLock;
_Guarded_by_(PorterLock) static LIST_ENTRY PorterQueue;
_Guarded_by_(PorterLock) static BOOLEAN PorterStopping;

static ULONG NTAPI
PorterVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const PORTER_PROVIDER_DISPATCH PorterDispatch = { PorterVersion };

// Completes everything that is queued. Returns FALSE once the thread shall end.
static BOOLEAN
PorterDrain(VOID)
{
    PPORTER_CLIENT Client;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    for (;;) {
        Client = NULL;
        KeAcquireSpinLock(&PorterLock, &OldIrql);
        Stopping = PorterStopping;
        if (!IsListEmpty(&PorterQueue)) {
            Client = CONTAINING_RECORD(RemoveHeadList(&PorterQueue), PORTER_CLIENT, Link);
        }
        KeReleaseSpinLock(&PorterLock, OldIrql);

        if (Client == NULL) {
            return !Stopping;
        }

        // Cleanup may run in here, so the client is gone after it. No lock is held: cleanup could run on any thread.
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
PorterThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    // Defect: what came after the look at the queue is forgotten with the reset.
    KeWaitForSingleObject(&PorterWake, Executive, KernelMode, FALSE, NULL);
    while (PorterDrain()) {
        KeClearEvent(&PorterWake);
        KeWaitForSingleObject(&PorterWake, Executive, KernelMode, FALSE, NULL);
    }

    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PorterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPORTER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPORTER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PORTER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PorterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PorterDetachClient(PVOID ProviderBindingContext)
{
    PPORTER_CLIENT Client = (PPORTER_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PorterLock, &OldIrql);
    InsertTailList(&PorterQueue, &Client->Link);
    KeReleaseSpinLock(&PorterLock, OldIrql);

    KeSetEvent(&PorterWake, IO_NO_INCREMENT, FALSE);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PorterCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PORTER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PorterStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&PorterWake, NotificationEvent, FALSE);
    KeInitializeSpinLock(&PorterLock);
    InitializeListHead(&PorterQueue);
    PorterStopping = FALSE;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PorterThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PorterThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PorterStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&PorterLock, &OldIrql);
    PorterStopping = TRUE;
    KeReleaseSpinLock(&PorterLock, OldIrql);
    KeSetEvent(&PorterWake, IO_NO_INCREMENT, FALSE);

    // The thread object, not an event: only that is signalled when the thread has left the driver's code.
    KeWaitForSingleObject(PorterThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PorterThreadObject);
}

_Use_decl_annotations_
static VOID
PorterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The thread goes last: the detaches that this sets off depend on it.
    if (NmrDeregisterProvider(PorterProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PorterProviderHandle);
    }

    PorterStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PorterUnload;

    Status = PorterStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PorterCharacteristics, NULL, &PorterProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PorterStopThread();
    }

    return Status;
}
