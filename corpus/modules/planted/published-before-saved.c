// nmrfuzz: module
// summary: Provider that shows a new client to its thread before it has saved how to call it.
// provides: 1
// consumes: 0
// expect: null-dereference
// rule: R51
// needs: the thread calls the client before the attach callback goes on
// interleaving: yes
// hardness: 2 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CRIER_POOL_TAG 'eirC'

typedef struct _CRIER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} CRIER_CLIENT_DISPATCH;

typedef struct _CRIER_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const CRIER_CLIENT_DISPATCH *ClientDispatch;
    ULONG CallsInProgress;
    BOOLEAN Notified;
    BOOLEAN Detaching;
} CRIER_CLIENT, *PCRIER_CLIENT;

typedef struct _CRIER_PROVIDER_DISPATCH {
    LONG(NTAPI *LastEvent)(_In_ PVOID ProviderBindingContext);
} CRIER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CrierUnload;
static KSTART_ROUTINE CrierThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN CrierAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CrierDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CrierCleanupBindingContext;

static const NPIID CrierNpiId = { 0xa891533d, 0xbc0e, 0x55af, { 0xb3, 0x3f, 0xc7, 0x63, 0x7e, 0x2d, 0x0a, 0x7f } };
static const NPI_MODULEID CrierModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x68580bf9, 0xd815, 0x5603, { 0xb8, 0xee, 0x30, 0x48, 0x0f, 0xd7, 0xad, 0xc7 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CrierCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CrierAttachClient,
    CrierDetachClient,
    CrierCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CrierNpiId, &CrierModuleId, 0, NULL }
};

static HANDLE CrierProviderHandle;
static PKTHREAD CrierThreadObject;
static KEVENT CrierWake; // Synchronization event: a client is new, or the thread shall end.
static LONG CrierEvent;
static KSPIN_LOCK CrierLock;
_Guarded_by_(CrierLock) static LIST_ENTRY CrierClients;
_Guarded_by_(CrierLock) static BOOLEAN CrierStopping;

static LONG NTAPI
CrierLastEvent(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&CrierEvent, 0, 0);
}

static const CRIER_PROVIDER_DISPATCH CrierDispatch = { CrierLastEvent };

// Counts a call to a client that was not notified before; NULL if there is none.
_Must_inspect_result_
static PCRIER_CLIENT
CrierBeginCall(_Out_ PBOOLEAN Stopping)
{
    PCRIER_CLIENT Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CrierLock, &OldIrql);
    *Stopping = CrierStopping;
    for (Entry = CrierClients.Flink; Entry != &CrierClients && Found == NULL; Entry = Entry->Flink) {
        PCRIER_CLIENT Client = CONTAINING_RECORD(Entry, CRIER_CLIENT, Link);

        if (!Client->Notified) {
            Client->Notified = TRUE;
            Client->CallsInProgress++;
            Found = Client;
        }
    }
    KeReleaseSpinLock(&CrierLock, OldIrql);
    return Found;
}

static VOID
CrierEndCall(_In_ PCRIER_CLIENT Client)
{
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CrierLock, &OldIrql);
    Client->CallsInProgress--;
    Last = Client->Detaching && Client->CallsInProgress == 0;
    KeReleaseSpinLock(&CrierLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
CrierThread(PVOID StartContext)
{
    PCRIER_CLIENT Client;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&CrierWake, Executive, KernelMode, FALSE, NULL);
        while ((Client = CrierBeginCall(&Stopping)) != NULL) {
            Client->ClientDispatch->Notify(Client->ClientBindingContext, (ULONG)InterlockedIncrement(&CrierEvent));
            CrierEndCall(Client);
        }
    } while (!Stopping);
}

// From here on the thread may call the client.
static VOID
CrierPublish(_In_ PCRIER_CLIENT Client)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CrierLock, &OldIrql);
    InsertTailList(&CrierClients, &Client->Link);
    KeReleaseSpinLock(&CrierLock, OldIrql);

    KeSetEvent(&CrierWake, IO_NO_INCREMENT, FALSE);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CrierAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCRIER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PCRIER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), CRIER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Defect: the thread may call through what is set only below.
    CrierPublish(Client);

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = (const CRIER_CLIENT_DISPATCH *)ClientDispatch;
    Client->Notified = ClientDispatch == NULL || Client->ClientDispatch->Notify == NULL;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &CrierDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CrierDetachClient(PVOID ProviderBindingContext)
{
    PCRIER_CLIENT Client = (PCRIER_CLIENT)ProviderBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CrierLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    Client->Detaching = TRUE;
    Busy = Client->CallsInProgress != 0;
    KeReleaseSpinLock(&CrierLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CrierCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, CRIER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
CrierStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CrierThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CrierThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
CrierStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CrierLock, &OldIrql);
    CrierStopping = TRUE;
    KeReleaseSpinLock(&CrierLock, OldIrql);
    KeSetEvent(&CrierWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(CrierThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(CrierThreadObject);
}

_Use_decl_annotations_
static VOID
CrierUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(CrierProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CrierProviderHandle);
    }

    CrierStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CrierUnload;

    KeInitializeEvent(&CrierWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&CrierLock);
    InitializeListHead(&CrierClients);

    Status = CrierStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&CrierCharacteristics, NULL, &CrierProviderHandle);
    if (!NT_SUCCESS(Status)) {
        CrierStopThread();
    }

    return Status;
}
