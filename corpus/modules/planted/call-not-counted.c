// nmrfuzz: module
// summary: Client that copies how to call its provider under the lock and calls without having counted the call.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R66, R59, R58
// needs: a call is in progress when the detach callback runs
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BURSAR_POOL_TAG 'sruB'
#define BURSAR_THREADS 2

typedef struct _BURSAR_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Deliver)(_In_ PVOID ProviderBindingContext, _In_ ULONG Parcel);
} BURSAR_PROVIDER_DISPATCH;

typedef struct _BURSAR_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const BURSAR_PROVIDER_DISPATCH *ProviderDispatch;
    ULONG ParcelsOwed; // Calls that the threads still have to make.
} BURSAR_BINDING, *PBURSAR_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BursarUnload;
static KSTART_ROUTINE BursarThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN BursarAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BursarDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BursarCleanupBindingContext;

static const NPIID BursarNpiId = { 0x54f9a3cb, 0xa51a, 0x5f65, { 0xb7, 0xf1, 0x39, 0xe5, 0xd5, 0x22, 0x8b, 0x29 } };
static const NPI_MODULEID BursarModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5d5fcee8, 0x40ea, 0x5c8f, { 0x80, 0xff, 0x6f, 0x0e, 0xab, 0x7e, 0xa9, 0xbe } } }
};

static const NPI_CLIENT_CHARACTERISTICS BursarCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BursarAttachProvider,
    BursarDetachProvider,
    BursarCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BursarNpiId, &BursarModuleId, 0, NULL }
};

static HANDLE BursarClientHandle;
static PKTHREAD BursarThreads[BURSAR_THREADS];
static KEVENT BursarStop;
static KSEMAPHORE BursarWork; // One count for each parcel owed, and one for each thread to stop.
static LONG BursarRefused;
static KSPIN_LOCK BursarLock;
_Guarded_by_(BursarLock) static LIST_ENTRY BursarBindings;

// Takes one owed parcel and copies what it takes to deliver it. NULL: nothing is owed.
_Must_inspect_result_
static const BURSAR_PROVIDER_DISPATCH *
BursarTakeParcel(_Out_ PULONG Parcel, _Out_ PVOID *Provider)
{
    const BURSAR_PROVIDER_DISPATCH *Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    *Parcel = 0;
    *Provider = NULL;

    KeAcquireSpinLock(&BursarLock, &OldIrql);
    for (Entry = BursarBindings.Flink; Entry != &BursarBindings; Entry = Entry->Flink) {
        PBURSAR_BINDING Binding = CONTAINING_RECORD(Entry, BURSAR_BINDING, Link);

        if (Binding->ParcelsOwed != 0) {
            *Parcel = Binding->ParcelsOwed--;
            *Provider = Binding->ProviderBindingContext;
            Found = Binding->ProviderDispatch;
            break;
        }
    }
    KeReleaseSpinLock(&BursarLock, OldIrql);
    return Found;
}

// Makes one call of a provider, if one is due.
static VOID
BursarDeliver(VOID)
{
    const BURSAR_PROVIDER_DISPATCH *Dispatch;
    PVOID Provider;
    ULONG Parcel;

    Dispatch = BursarTakeParcel(&Parcel, &Provider);
    if (Dispatch == NULL) {
        return;
    }

    // Defect: with a copy the binding is not needed any more, but the provider is; the detach does not wait for this.
    if (!NT_SUCCESS(Dispatch->Deliver(Provider, Parcel))) {
        InterlockedIncrement(&BursarRefused);
    }
}

_Use_decl_annotations_
static VOID
BursarThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&BursarWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&BursarStop) != 0) {
            break;
        }
        BursarDeliver();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BursarAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBURSAR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PBURSAR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BURSAR_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        NULL,
        &Binding->ProviderBindingContext,
        (CONST VOID **)&Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, BURSAR_POOL_TAG);
        return Status;
    }

    // A provider without the function is left alone.
    if (Binding->ProviderDispatch != NULL && Binding->ProviderDispatch->Deliver != NULL) {
        Binding->ParcelsOwed = BURSAR_THREADS;
    }

    KeAcquireSpinLock(&BursarLock, &OldIrql);
    InsertTailList(&BursarBindings, &Binding->Link);
    KeReleaseSpinLock(&BursarLock, OldIrql);

    KeReleaseSemaphore(&BursarWork, IO_NO_INCREMENT, BURSAR_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BursarDetachProvider(PVOID ClientBindingContext)
{
    PBURSAR_BINDING Binding = (PBURSAR_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BursarLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&BursarLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BursarCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BURSAR_POOL_TAG);
}

// Ends the first Count threads.
static VOID
BursarStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&BursarStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&BursarWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(BursarThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(BursarThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
BursarStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < BURSAR_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, BursarThread, NULL);
        if (!NT_SUCCESS(Status)) {
            BursarStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&BursarThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
BursarUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BursarClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BursarClientHandle);
    }

    BursarStopThreads(BURSAR_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BursarUnload;

    KeInitializeEvent(&BursarStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&BursarWork, 0, MAXLONG);
    KeInitializeSpinLock(&BursarLock);
    InitializeListHead(&BursarBindings);

    Status = BursarStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&BursarCharacteristics, NULL, &BursarClientHandle);
    if (!NT_SUCCESS(Status)) {
        BursarStopThreads(BURSAR_THREADS);
    }

    return Status;
}
