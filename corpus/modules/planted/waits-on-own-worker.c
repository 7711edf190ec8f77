// nmrfuzz: module
// summary: Provider whose thread, which completes the detaches, is also the one that waits for the deregistration.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R106
// needs: a client is attached when the driver unloads
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SEXTON_POOL_TAG 'txeS'

typedef struct _SEXTON_CLIENT {
    LIST_ENTRY Link; // In SextonQueue, from the detach callback until the thread takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SEXTON_CLIENT, *PSEXTON_CLIENT;

typedef struct _SEXTON_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SEXTON_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SextonUnload;
static KSTART_ROUTINE SextonThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SextonAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SextonDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SextonCleanupBindingContext;

static const NPIID SextonNpiId = { 0xb57d6b55, 0x9f6f, 0x52d3, { 0xa6, 0x43, 0xa0, 0xbb, 0xbc, 0x09, 0xf9, 0x83 } };
static const NPI_MODULEID SextonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xee55570a, 0xe1f9, 0x5e8b, { 0x91, 0x56, 0x5e, 0xc6, 0x49, 0x08, 0xa3, 0x08 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SextonCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SextonAttachClient,
    SextonDetachClient,
    SextonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SextonNpiId, &SextonModuleId, 0, NULL }
};

static HANDLE SextonProviderHandle;
static BOOLEAN SextonRegistered;
static PKTHREAD SextonThreadObject;
static KEVENT SextonWake; // Synchronization event: the queue or SextonStopping has changed.
static KSPIN_LOCK SextonLock;
_Guarded_by_(SextonLock) static LIST_ENTRY SextonQueue;
_Guarded_by_(SextonLock) static BOOLEAN SextonStopping;

static ULONG NTAPI
SextonVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SEXTON_PROVIDER_DISPATCH SextonDispatch = { SextonVersion };

// Completes everything that is queued. Returns FALSE once the thread shall end.
static BOOLEAN
SextonDrain(VOID)
{
    PSEXTON_CLIENT Client;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    for (;;) {
        Client = NULL;
        KeAcquireSpinLock(&SextonLock, &OldIrql);
        Stopping = SextonStopping;
        if (!IsListEmpty(&SextonQueue)) {
            Client = CONTAINING_RECORD(RemoveHeadList(&SextonQueue), SEXTON_CLIENT, Link);
        }
        KeReleaseSpinLock(&SextonLock, OldIrql);

        if (Client == NULL) {
            return !Stopping;
        }

        // Cleanup may run in here, so the client is gone after it. No lock is held: cleanup could run on any thread.
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
SextonThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&SextonWake, Executive, KernelMode, FALSE, NULL);
    } while (SextonDrain());

    // Defect: the detaches that this sets off are queued to the very thread that waits for them.
    if (SextonRegistered && NmrDeregisterProvider(SextonProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SextonProviderHandle);
    }

    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SextonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSEXTON_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSEXTON_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SEXTON_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SextonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SextonDetachClient(PVOID ProviderBindingContext)
{
    PSEXTON_CLIENT Client = (PSEXTON_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SextonLock, &OldIrql);
    InsertTailList(&SextonQueue, &Client->Link);
    KeReleaseSpinLock(&SextonLock, OldIrql);

    KeSetEvent(&SextonWake, IO_NO_INCREMENT, FALSE);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
SextonCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SEXTON_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
SextonStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&SextonWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&SextonLock);
    InitializeListHead(&SextonQueue);
    SextonStopping = FALSE;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SextonThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SextonThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
SextonStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SextonLock, &OldIrql);
    SextonStopping = TRUE;
    KeReleaseSpinLock(&SextonLock, OldIrql);
    KeSetEvent(&SextonWake, IO_NO_INCREMENT, FALSE);

    // The thread object, not an event: only that is signalled when the thread has left the driver's code.
    KeWaitForSingleObject(SextonThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SextonThreadObject);
}

_Use_decl_annotations_
static VOID
SextonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    SextonRegistered = TRUE;
    SextonStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SextonUnload;

    Status = SextonStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SextonCharacteristics, NULL, &SextonProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SextonStopThread();
    }

    return Status;
}
