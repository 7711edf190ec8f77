// nmrfuzz: module
// summary: Provider whose detach callback announces itself and looks for a use in progress in two separate steps.
// provides: 1
// consumes: 0
// expect: bad-call, bad-handle
// rule: R69, R77
// needs: the last use ends between the two steps of the detach callback
// interleaving: yes
// hardness: median 41 schedules (default hunt)

#include <ntddk.h>
#include <netioddk.h>

#define POSTERN_POOL_TAG 'tsoP'

typedef struct _POSTERN_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG UsesInProgress;
    BOOLEAN Counted;
    BOOLEAN Detaching;
    LONG Passages;
} POSTERN_CLIENT, *PPOSTERN_CLIENT;

typedef struct _POSTERN_PROVIDER_DISPATCH {
    LONG(NTAPI *Pass)(_In_ PVOID ProviderBindingContext);
} POSTERN_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PosternUnload;
static KSTART_ROUTINE PosternThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PosternAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PosternDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PosternCleanupBindingContext;

static const NPIID PosternNpiId = { 0x4b3f2206, 0xaa3b, 0x5704, { 0x94, 0xee, 0xe1, 0xb2, 0xb1, 0xec, 0x9f, 0x1c } };
static const NPI_MODULEID PosternModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8fd01324, 0xe725, 0x5f54, { 0x8c, 0xe2, 0xc6, 0xca, 0xc1, 0x9d, 0x20, 0x57 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PosternCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PosternAttachClient,
    PosternDetachClient,
    PosternCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PosternNpiId, &PosternModuleId, 0, NULL }
};

static HANDLE PosternProviderHandle;
static PKTHREAD PosternThreadObject;
static KEVENT PosternWake; // Synchronization event: a client is new, or the thread shall end.
static LONG PosternTotal;
static KSPIN_LOCK PosternLock;
_Guarded_by_(PosternLock) static LIST_ENTRY PosternClients;
_Guarded_by_(PosternLock) static BOOLEAN PosternStopping;

static LONG NTAPI
PosternPass(_In_ PVOID ProviderBindingContext)
{
    PPOSTERN_CLIENT Client = (PPOSTERN_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Passages);
}

static const POSTERN_PROVIDER_DISPATCH PosternDispatch = { PosternPass };

// A client whose passages have not been added to the total yet, in use until PosternEndUse; NULL if there is none.
_Must_inspect_result_
static PPOSTERN_CLIENT
PosternBeginUse(_Out_ PBOOLEAN Stopping)
{
    PPOSTERN_CLIENT Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PosternLock, &OldIrql);
    *Stopping = PosternStopping;
    for (Entry = PosternClients.Flink; Entry != &PosternClients && Found == NULL; Entry = Entry->Flink) {
        PPOSTERN_CLIENT Client = CONTAINING_RECORD(Entry, POSTERN_CLIENT, Link);

        if (!Client->Counted) {
            Client->Counted = TRUE;
            Client->UsesInProgress++;
            Found = Client;
        }
    }
    KeReleaseSpinLock(&PosternLock, OldIrql);
    return Found;
}

static VOID
PosternEndUse(_In_ PPOSTERN_CLIENT Client)
{
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PosternLock, &OldIrql);
    Client->UsesInProgress--;
    Last = Client->Detaching && Client->UsesInProgress == 0;
    KeReleaseSpinLock(&PosternLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
PosternThread(PVOID StartContext)
{
    PPOSTERN_CLIENT Client;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&PosternWake, Executive, KernelMode, FALSE, NULL);
        while ((Client = PosternBeginUse(&Stopping)) != NULL) {
            InterlockedExchangeAdd(&PosternTotal, InterlockedExchange(&Client->Passages, 0));
            PosternEndUse(Client);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PosternAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPOSTERN_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPOSTERN_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), POSTERN_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PosternDispatch;

    KeAcquireSpinLock(&PosternLock, &OldIrql);
    InsertTailList(&PosternClients, &Client->Link);
    KeReleaseSpinLock(&PosternLock, OldIrql);

    KeSetEvent(&PosternWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PosternDetachClient(PVOID ProviderBindingContext)
{
    PPOSTERN_CLIENT Client = (PPOSTERN_CLIENT)ProviderBindingContext;
    HANDLE BindingHandle = Client->BindingHandle;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PosternLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    Client->Detaching = TRUE;
    KeReleaseSpinLock(&PosternLock, OldIrql);

    // Defect: a use that has ended since the lock was released has completed the detach already.
    KeAcquireSpinLock(&PosternLock, &OldIrql);
    Busy = Client->UsesInProgress != 0;
    KeReleaseSpinLock(&PosternLock, OldIrql);

    if (!Busy) {
        NmrProviderDetachClientComplete(BindingHandle);
    }

    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PosternCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, POSTERN_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PosternStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PosternThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PosternThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PosternStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&PosternLock, &OldIrql);
    PosternStopping = TRUE;
    KeReleaseSpinLock(&PosternLock, OldIrql);
    KeSetEvent(&PosternWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(PosternThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PosternThreadObject);
}

_Use_decl_annotations_
static VOID
PosternUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PosternProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PosternProviderHandle);
    }

    PosternStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PosternUnload;

    KeInitializeEvent(&PosternWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&PosternLock);
    InitializeListHead(&PosternClients);

    Status = PosternStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PosternCharacteristics, NULL, &PosternProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PosternStopThread();
    }

    return Status;
}
