// nmrfuzz: module
// summary: Provider whose thread notifies its clients through their dispatch; counted calls, completed by the last one.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// A client is published with everything that a call needs, and as the last step of its attach. Clients without the
// function are not called.

#include <ntddk.h>
#include <netioddk.h>

#define HERALD_POOL_TAG 'areH'

typedef struct _HERALD_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} HERALD_CLIENT_DISPATCH;

typedef struct _HERALD_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const HERALD_CLIENT_DISPATCH *ClientDispatch;
    ULONG CallsInProgress;
    BOOLEAN Notified;
    BOOLEAN Detaching;
} HERALD_CLIENT, *PHERALD_CLIENT;

typedef struct _HERALD_PROVIDER_DISPATCH {
    LONG(NTAPI *LastEvent)(_In_ PVOID ProviderBindingContext);
} HERALD_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HeraldUnload;
static KSTART_ROUTINE HeraldThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN HeraldAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN HeraldDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN HeraldCleanupBindingContext;

static const NPIID HeraldNpiId = { 0x81ea374b, 0x639a, 0x5c33, { 0xbe, 0x39, 0x37, 0x57, 0x9f, 0x0c, 0xb5, 0x57 } };
static const NPI_MODULEID HeraldModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xcf7159cd, 0xb7c4, 0x5427, { 0xb8, 0x30, 0x7e, 0xf2, 0x4e, 0x97, 0x6d, 0x3a } } }
};

static const NPI_PROVIDER_CHARACTERISTICS HeraldCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    HeraldAttachClient,
    HeraldDetachClient,
    HeraldCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HeraldNpiId, &HeraldModuleId, 0, NULL }
};

static HANDLE HeraldProviderHandle;
static PKTHREAD HeraldThreadObject;
static KEVENT HeraldWake; // Synchronization event: a client is new, or the thread shall end.
static LONG HeraldEvent;
static KSPIN_LOCK HeraldLock;
_Guarded_by_(HeraldLock) static LIST_ENTRY HeraldClients;
_Guarded_by_(HeraldLock) static BOOLEAN HeraldStopping;

static LONG NTAPI
HeraldLastEvent(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&HeraldEvent, 0, 0);
}

static const HERALD_PROVIDER_DISPATCH HeraldDispatch = { HeraldLastEvent };

// Counts a call to a client that was not notified before; NULL if there is none.
_Must_inspect_result_
static PHERALD_CLIENT
HeraldBeginCall(_Out_ PBOOLEAN Stopping)
{
    PHERALD_CLIENT Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    *Stopping = HeraldStopping;
    for (Entry = HeraldClients.Flink; Entry != &HeraldClients && Found == NULL; Entry = Entry->Flink) {
        PHERALD_CLIENT Client = CONTAINING_RECORD(Entry, HERALD_CLIENT, Link);

        if (!Client->Notified) {
            Client->Notified = TRUE;
            Client->CallsInProgress++;
            Found = Client;
        }
    }
    KeReleaseSpinLock(&HeraldLock, OldIrql);
    return Found;
}

static VOID
HeraldEndCall(_In_ PHERALD_CLIENT Client)
{
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    Client->CallsInProgress--;
    Last = Client->Detaching && Client->CallsInProgress == 0;
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
HeraldThread(PVOID StartContext)
{
    PHERALD_CLIENT Client;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&HeraldWake, Executive, KernelMode, FALSE, NULL);
        while ((Client = HeraldBeginCall(&Stopping)) != NULL) {
            Client->ClientDispatch->Notify(Client->ClientBindingContext, (ULONG)InterlockedIncrement(&HeraldEvent));
            HeraldEndCall(Client);
        }
    } while (!Stopping);
}

// From here on the thread may call the client.
static VOID
HeraldPublish(_In_ PHERALD_CLIENT Client)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    InsertTailList(&HeraldClients, &Client->Link);
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    KeSetEvent(&HeraldWake, IO_NO_INCREMENT, FALSE);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeraldAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PHERALD_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PHERALD_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), HERALD_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = (const HERALD_CLIENT_DISPATCH *)ClientDispatch;
    Client->Notified = ClientDispatch == NULL || Client->ClientDispatch->Notify == NULL;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &HeraldDispatch;
    HeraldPublish(Client);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeraldDetachClient(PVOID ProviderBindingContext)
{
    PHERALD_CLIENT Client = (PHERALD_CLIENT)ProviderBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    Client->Detaching = TRUE;
    Busy = Client->CallsInProgress != 0;
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HeraldCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, HERALD_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
HeraldStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, HeraldThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&HeraldThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
HeraldStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    HeraldStopping = TRUE;
    KeReleaseSpinLock(&HeraldLock, OldIrql);
    KeSetEvent(&HeraldWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(HeraldThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(HeraldThreadObject);
}

_Use_decl_annotations_
static VOID
HeraldUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(HeraldProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(HeraldProviderHandle);
    }

    HeraldStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HeraldUnload;

    KeInitializeEvent(&HeraldWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&HeraldLock);
    InitializeListHead(&HeraldClients);

    Status = HeraldStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&HeraldCharacteristics, NULL, &HeraldProviderHandle);
    if (!NT_SUCCESS(Status)) {
        HeraldStopThread();
    }

    return Status;
}
