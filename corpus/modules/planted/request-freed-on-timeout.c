// nmrfuzz: module
// summary: Provider that asks its thread to approve a client and frees the request when it has waited long enough.
// provides: 1
// consumes: 0
// expect: use-after-free
// rule: none
// needs: the thread is so slow that the wait in the attach callback times out
// interleaving: yes
// hardness: 2 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PERMIT_POOL_TAG 'mreP'
#define PERMIT_TIMEOUT (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

// Asks the thread for its approval of a client.
typedef struct _PERMIT_REQUEST {
    LIST_ENTRY Link; // In PermitQueue, until the thread takes it.
    KEVENT Answered;
    ULONG Number;
    BOOLEAN Approved;
} PERMIT_REQUEST, *PPERMIT_REQUEST;

typedef struct _PERMIT_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} PERMIT_CLIENT, *PPERMIT_CLIENT;

typedef struct _PERMIT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} PERMIT_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PermitUnload;
static KSTART_ROUTINE PermitThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PermitAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PermitDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PermitCleanupBindingContext;

static const NPIID PermitNpiId = { 0x591fc89c, 0xbbe6, 0x5f8e, { 0xad, 0xd6, 0x13, 0x8e, 0x5b, 0xdc, 0x34, 0x94 } };
static const NPI_MODULEID PermitModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb4f734cb, 0x4135, 0x5dad, { 0xa8, 0x47, 0xf8, 0x97, 0x36, 0x5d, 0x69, 0xb3 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PermitCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PermitAttachClient,
    PermitDetachClient,
    PermitCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PermitNpiId, &PermitModuleId, 0, NULL }
};

static HANDLE PermitProviderHandle;
static PKTHREAD PermitThreadObject;
static KEVENT PermitWake; // Synchronization event: the queue or PermitStopping has changed.
static KSPIN_LOCK PermitLock;
_Guarded_by_(PermitLock) static LIST_ENTRY PermitQueue;
_Guarded_by_(PermitLock) static BOOLEAN PermitStopping;

static ULONG NTAPI
PermitVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const PERMIT_PROVIDER_DISPATCH PermitDispatch = { PermitVersion };

// Answers everything that is queued. Returns FALSE once the thread shall end.
static BOOLEAN
PermitDrain(VOID)
{
    PPERMIT_REQUEST Request;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    for (;;) {
        Request = NULL;
        KeAcquireSpinLock(&PermitLock, &OldIrql);
        Stopping = PermitStopping;
        if (!IsListEmpty(&PermitQueue)) {
            Request = CONTAINING_RECORD(RemoveHeadList(&PermitQueue), PERMIT_REQUEST, Link);
        }
        KeReleaseSpinLock(&PermitLock, OldIrql);

        if (Request == NULL) {
            return !Stopping;
        }

        Request->Approved = Request->Number == 0;
        KeSetEvent(&Request->Answered, IO_NO_INCREMENT, FALSE);
    }
}

_Use_decl_annotations_
static VOID
PermitThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&PermitWake, Executive, KernelMode, FALSE, NULL);
    } while (PermitDrain());

    PsTerminateSystemThread(STATUS_SUCCESS);
}

// Has the thread look at a client. FALSE also if it takes too long.
_Must_inspect_result_
static BOOLEAN
PermitAsk(_In_ ULONG Number)
{
    PPERMIT_REQUEST Request;
    LARGE_INTEGER Timeout;
    BOOLEAN Approved;
    KIRQL OldIrql;

    Request = (PPERMIT_REQUEST)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Request), PERMIT_POOL_TAG);
    if (Request == NULL) {
        return FALSE;
    }
    KeInitializeEvent(&Request->Answered, NotificationEvent, FALSE);
    Request->Number = Number;

    KeAcquireSpinLock(&PermitLock, &OldIrql);
    InsertTailList(&PermitQueue, &Request->Link);
    KeReleaseSpinLock(&PermitLock, OldIrql);
    KeSetEvent(&PermitWake, IO_NO_INCREMENT, FALSE);

    Timeout.QuadPart = PERMIT_TIMEOUT;
    Approved = KeWaitForSingleObject(&Request->Answered, Executive, KernelMode, FALSE, &Timeout) == STATUS_SUCCESS &&
               Request->Approved;

    // Defect: after a timeout the request is still in the queue, or in the hands of the thread.
    ExFreePoolWithTag(Request, PERMIT_POOL_TAG);
    return Approved;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PermitAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPERMIT_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    if (!PermitAsk(ClientRegistrationInstance->Number)) {
        return STATUS_NOINTERFACE;
    }

    Client = (PPERMIT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PERMIT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PermitDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PermitDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PermitCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PERMIT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PermitStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    KeInitializeEvent(&PermitWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&PermitLock);
    InitializeListHead(&PermitQueue);
    PermitStopping = FALSE;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PermitThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PermitThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PermitStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&PermitLock, &OldIrql);
    PermitStopping = TRUE;
    KeReleaseSpinLock(&PermitLock, OldIrql);
    KeSetEvent(&PermitWake, IO_NO_INCREMENT, FALSE);

    // The thread object, not an event: only that is signalled when the thread has left the driver's code.
    KeWaitForSingleObject(PermitThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PermitThreadObject);
}

_Use_decl_annotations_
static VOID
PermitUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The thread goes last: an attach that is being made may depend on it.
    if (NmrDeregisterProvider(PermitProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PermitProviderHandle);
    }

    PermitStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PermitUnload;

    Status = PermitStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PermitCharacteristics, NULL, &PermitProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PermitStopThread();
    }

    return Status;
}
