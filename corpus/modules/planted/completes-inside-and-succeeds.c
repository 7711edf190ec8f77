// nmrfuzz: module
// summary: Provider whose detach callback, when no use is in progress, both completes the detach and returns success.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R70
// needs: nothing but an attached client
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define WICKET_POOL_TAG 'kciW'

typedef struct _WICKET_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG UsesInProgress;
    BOOLEAN Counted;
    BOOLEAN Detaching;
    LONG Passages;
} WICKET_CLIENT, *PWICKET_CLIENT;

typedef struct _WICKET_PROVIDER_DISPATCH {
    LONG(NTAPI *Pass)(_In_ PVOID ProviderBindingContext);
} WICKET_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WicketUnload;
static KSTART_ROUTINE WicketThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN WicketAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN WicketDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN WicketCleanupBindingContext;

static const NPIID WicketNpiId = { 0x3762550c, 0xc6b0, 0x5d35, { 0x9c, 0x90, 0x04, 0x22, 0x3e, 0x13, 0xe0, 0x5e } };
static const NPI_MODULEID WicketModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x59142153, 0x4e3d, 0x568f, { 0x84, 0x7d, 0x86, 0x90, 0x46, 0xf6, 0x8e, 0xff } } }
};

static const NPI_PROVIDER_CHARACTERISTICS WicketCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    WicketAttachClient,
    WicketDetachClient,
    WicketCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WicketNpiId, &WicketModuleId, 0, NULL }
};

static HANDLE WicketProviderHandle;
static PKTHREAD WicketThreadObject;
static KEVENT WicketWake; // Synchronization event: a client is new, or the thread shall end.
static LONG WicketTotal;
static KSPIN_LOCK WicketLock;
_Guarded_by_(WicketLock) static LIST_ENTRY WicketClients;
_Guarded_by_(WicketLock) static BOOLEAN WicketStopping;

static LONG NTAPI
WicketPass(_In_ PVOID ProviderBindingContext)
{
    PWICKET_CLIENT Client = (PWICKET_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Passages);
}

static const WICKET_PROVIDER_DISPATCH WicketDispatch = { WicketPass };

// A client whose passages have not been added to the total yet, in use until WicketEndUse; NULL if there is none.
_Must_inspect_result_
static PWICKET_CLIENT
WicketBeginUse(_Out_ PBOOLEAN Stopping)
{
    PWICKET_CLIENT Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WicketLock, &OldIrql);
    *Stopping = WicketStopping;
    for (Entry = WicketClients.Flink; Entry != &WicketClients && Found == NULL; Entry = Entry->Flink) {
        PWICKET_CLIENT Client = CONTAINING_RECORD(Entry, WICKET_CLIENT, Link);

        if (!Client->Counted) {
            Client->Counted = TRUE;
            Client->UsesInProgress++;
            Found = Client;
        }
    }
    KeReleaseSpinLock(&WicketLock, OldIrql);
    return Found;
}

static VOID
WicketEndUse(_In_ PWICKET_CLIENT Client)
{
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WicketLock, &OldIrql);
    Client->UsesInProgress--;
    Last = Client->Detaching && Client->UsesInProgress == 0;
    KeReleaseSpinLock(&WicketLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
WicketThread(PVOID StartContext)
{
    PWICKET_CLIENT Client;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&WicketWake, Executive, KernelMode, FALSE, NULL);
        while ((Client = WicketBeginUse(&Stopping)) != NULL) {
            InterlockedExchangeAdd(&WicketTotal, InterlockedExchange(&Client->Passages, 0));
            WicketEndUse(Client);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WicketAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PWICKET_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PWICKET_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), WICKET_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &WicketDispatch;

    KeAcquireSpinLock(&WicketLock, &OldIrql);
    InsertTailList(&WicketClients, &Client->Link);
    KeReleaseSpinLock(&WicketLock, OldIrql);

    KeSetEvent(&WicketWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WicketDetachClient(PVOID ProviderBindingContext)
{
    PWICKET_CLIENT Client = (PWICKET_CLIENT)ProviderBindingContext;
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WicketLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    Client->Detaching = TRUE;
    Busy = Client->UsesInProgress != 0;
    KeReleaseSpinLock(&WicketLock, OldIrql);

    if (Busy) {
        return STATUS_PENDING;
    }

    // Defect: one or the other ends the detach, not both.
    NmrProviderDetachClientComplete(BindingHandle);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WicketCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, WICKET_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
WicketStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, WicketThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&WicketThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
WicketStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&WicketLock, &OldIrql);
    WicketStopping = TRUE;
    KeReleaseSpinLock(&WicketLock, OldIrql);
    KeSetEvent(&WicketWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(WicketThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(WicketThreadObject);
}

_Use_decl_annotations_
static VOID
WicketUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(WicketProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(WicketProviderHandle);
    }

    WicketStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WicketUnload;

    KeInitializeEvent(&WicketWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&WicketLock);
    InitializeListHead(&WicketClients);

    Status = WicketStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&WicketCharacteristics, NULL, &WicketProviderHandle);
    if (!NT_SUCCESS(Status)) {
        WicketStopThread();
    }

    return Status;
}
