// nmrfuzz: module
// summary: Provider whose detach always pends and is completed inside the callback when no use is in progress.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// One path for both cases: whoever finds the count at zero completes, be it the last use or the detach callback itself.
// In either case the callback returns STATUS_PENDING.

#include <ntddk.h>
#include <netioddk.h>

#define TURNSTILE_POOL_TAG 'nruT'

typedef struct _TURNSTILE_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG UsesInProgress;
    BOOLEAN Counted;
    BOOLEAN Detaching;
    LONG Passages;
} TURNSTILE_CLIENT, *PTURNSTILE_CLIENT;

typedef struct _TURNSTILE_PROVIDER_DISPATCH {
    LONG(NTAPI *Pass)(_In_ PVOID ProviderBindingContext);
} TURNSTILE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TurnstileUnload;
static KSTART_ROUTINE TurnstileThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN TurnstileAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TurnstileDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TurnstileCleanupBindingContext;

static const NPIID TurnstileNpiId = { 0x464c09b6, 0xcd7d, 0x595c, { 0x9b, 0xc2, 0x0f, 0x8a, 0x74, 0xe0, 0xd9, 0xca } };
static const NPI_MODULEID TurnstileModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8113d33c, 0x93c7, 0x5404, { 0x97, 0xfc, 0x04, 0x72, 0x48, 0x53, 0xf2, 0xde } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TurnstileCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TurnstileAttachClient,
    TurnstileDetachClient,
    TurnstileCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TurnstileNpiId, &TurnstileModuleId, 0, NULL }
};

static HANDLE TurnstileProviderHandle;
static PKTHREAD TurnstileThreadObject;
static KEVENT TurnstileWake; // Synchronization event: a client is new, or the thread shall end.
static LONG TurnstileTotal;
static KSPIN_LOCK TurnstileLock;
_Guarded_by_(TurnstileLock) static LIST_ENTRY TurnstileClients;
_Guarded_by_(TurnstileLock) static BOOLEAN TurnstileStopping;

static LONG NTAPI
TurnstilePass(_In_ PVOID ProviderBindingContext)
{
    PTURNSTILE_CLIENT Client = (PTURNSTILE_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Passages);
}

static const TURNSTILE_PROVIDER_DISPATCH TurnstileDispatch = { TurnstilePass };

// A client whose passages have not been added to the total yet, in use until TurnstileEndUse; NULL if there is none.
_Must_inspect_result_
static PTURNSTILE_CLIENT
TurnstileBeginUse(_Out_ PBOOLEAN Stopping)
{
    PTURNSTILE_CLIENT Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TurnstileLock, &OldIrql);
    *Stopping = TurnstileStopping;
    for (Entry = TurnstileClients.Flink; Entry != &TurnstileClients && Found == NULL; Entry = Entry->Flink) {
        PTURNSTILE_CLIENT Client = CONTAINING_RECORD(Entry, TURNSTILE_CLIENT, Link);

        if (!Client->Counted) {
            Client->Counted = TRUE;
            Client->UsesInProgress++;
            Found = Client;
        }
    }
    KeReleaseSpinLock(&TurnstileLock, OldIrql);
    return Found;
}

static VOID
TurnstileEndUse(_In_ PTURNSTILE_CLIENT Client)
{
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TurnstileLock, &OldIrql);
    Client->UsesInProgress--;
    Last = Client->Detaching && Client->UsesInProgress == 0;
    KeReleaseSpinLock(&TurnstileLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
TurnstileThread(PVOID StartContext)
{
    PTURNSTILE_CLIENT Client;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&TurnstileWake, Executive, KernelMode, FALSE, NULL);
        while ((Client = TurnstileBeginUse(&Stopping)) != NULL) {
            InterlockedExchangeAdd(&TurnstileTotal, InterlockedExchange(&Client->Passages, 0));
            TurnstileEndUse(Client);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnstileAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTURNSTILE_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTURNSTILE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TURNSTILE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TurnstileDispatch;

    KeAcquireSpinLock(&TurnstileLock, &OldIrql);
    InsertTailList(&TurnstileClients, &Client->Link);
    KeReleaseSpinLock(&TurnstileLock, OldIrql);

    KeSetEvent(&TurnstileWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnstileDetachClient(PVOID ProviderBindingContext)
{
    PTURNSTILE_CLIENT Client = (PTURNSTILE_CLIENT)ProviderBindingContext;
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TurnstileLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    Client->Detaching = TRUE;
    Busy = Client->UsesInProgress != 0;
    KeReleaseSpinLock(&TurnstileLock, OldIrql);

    if (!Busy) {
        NmrProviderDetachClientComplete(BindingHandle);
    }

    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
TurnstileCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, TURNSTILE_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
TurnstileStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, TurnstileThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&TurnstileThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
TurnstileStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TurnstileLock, &OldIrql);
    TurnstileStopping = TRUE;
    KeReleaseSpinLock(&TurnstileLock, OldIrql);
    KeSetEvent(&TurnstileWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(TurnstileThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(TurnstileThreadObject);
}

_Use_decl_annotations_
static VOID
TurnstileUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(TurnstileProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TurnstileProviderHandle);
    }

    TurnstileStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TurnstileUnload;

    KeInitializeEvent(&TurnstileWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&TurnstileLock);
    InitializeListHead(&TurnstileClients);

    Status = TurnstileStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&TurnstileCharacteristics, NULL, &TurnstileProviderHandle);
    if (!NT_SUCCESS(Status)) {
        TurnstileStopThread();
    }

    return Status;
}
