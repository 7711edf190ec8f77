// nmrfuzz: module
// summary: Client that copies how to call its provider while it holds a count, which it gives back before the call.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R71, R66, R58
// needs: a call is in progress when the detach is completed
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ENVOY_POOL_TAG 'ovnE'
#define ENVOY_THREADS 2

typedef struct _ENVOY_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Deliver)(_In_ PVOID ProviderBindingContext, _In_ ULONG Parcel);
} ENVOY_PROVIDER_DISPATCH;

typedef struct _ENVOY_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const ENVOY_PROVIDER_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ParcelsOwed; // Calls that the threads still have to make.
    BOOLEAN Detaching;
} ENVOY_BINDING, *PENVOY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EnvoyUnload;
static KSTART_ROUTINE EnvoyThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN EnvoyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN EnvoyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN EnvoyCleanupBindingContext;

static const NPIID EnvoyNpiId = { 0xcd8f2932, 0x64b4, 0x5427, { 0x90, 0xb5, 0x10, 0x7a, 0xdf, 0xf2, 0x9d, 0xc9 } };
static const NPI_MODULEID EnvoyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5d50ef84, 0x5106, 0x5319, { 0xb6, 0x05, 0x6a, 0xb3, 0xf2, 0x5e, 0x40, 0x42 } } }
};

static const NPI_CLIENT_CHARACTERISTICS EnvoyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    EnvoyAttachProvider,
    EnvoyDetachProvider,
    EnvoyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EnvoyNpiId, &EnvoyModuleId, 0, NULL }
};

static HANDLE EnvoyClientHandle;
static PKTHREAD EnvoyThreads[ENVOY_THREADS];
static KEVENT EnvoyStop;
static KSEMAPHORE EnvoyWork; // One count for each parcel owed, and one for each thread to stop.
static LONG EnvoyRefused;
static KSPIN_LOCK EnvoyLock;
_Guarded_by_(EnvoyLock) static LIST_ENTRY EnvoyBindings;

// Takes one owed parcel and counts the call that will deliver it. NULL: nothing is owed.
_Must_inspect_result_
static PENVOY_BINDING
EnvoyBeginCall(_Out_ PULONG Parcel)
{
    PENVOY_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    *Parcel = 0;

    KeAcquireSpinLock(&EnvoyLock, &OldIrql);
    for (Entry = EnvoyBindings.Flink; Entry != &EnvoyBindings; Entry = Entry->Flink) {
        PENVOY_BINDING Binding = CONTAINING_RECORD(Entry, ENVOY_BINDING, Link);

        if (Binding->ParcelsOwed != 0) {
            *Parcel = Binding->ParcelsOwed--;
            Binding->CallsInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&EnvoyLock, OldIrql);
    return Found;
}

static VOID
EnvoyEndCall(_In_ PENVOY_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EnvoyLock, &OldIrql);
    Binding->CallsInProgress--;
    Last = Binding->Detaching && Binding->CallsInProgress == 0;
    KeReleaseSpinLock(&EnvoyLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

// Makes one call of a provider, if one is due.
static VOID
EnvoyDeliver(VOID)
{
    const ENVOY_PROVIDER_DISPATCH *Dispatch;
    PENVOY_BINDING Binding;
    PVOID Provider;
    ULONG Parcel;

    Binding = EnvoyBeginCall(&Parcel);
    if (Binding == NULL) {
        return;
    }

    // Defect: the count ends before the call. It protects no more than our own context.
    Dispatch = Binding->ProviderDispatch;
    Provider = Binding->ProviderBindingContext;
    EnvoyEndCall(Binding);
    if (!NT_SUCCESS(Dispatch->Deliver(Provider, Parcel))) {
        InterlockedIncrement(&EnvoyRefused);
    }
}

_Use_decl_annotations_
static VOID
EnvoyThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&EnvoyWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&EnvoyStop) != 0) {
            break;
        }
        EnvoyDeliver();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EnvoyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PENVOY_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PENVOY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ENVOY_POOL_TAG);
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
        ExFreePoolWithTag(Binding, ENVOY_POOL_TAG);
        return Status;
    }

    // A provider without the function is left alone.
    if (Binding->ProviderDispatch != NULL && Binding->ProviderDispatch->Deliver != NULL) {
        Binding->ParcelsOwed = ENVOY_THREADS;
    }

    KeAcquireSpinLock(&EnvoyLock, &OldIrql);
    InsertTailList(&EnvoyBindings, &Binding->Link);
    KeReleaseSpinLock(&EnvoyLock, OldIrql);

    KeReleaseSemaphore(&EnvoyWork, IO_NO_INCREMENT, ENVOY_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EnvoyDetachProvider(PVOID ClientBindingContext)
{
    PENVOY_BINDING Binding = (PENVOY_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EnvoyLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->CallsInProgress != 0;
    KeReleaseSpinLock(&EnvoyLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EnvoyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ENVOY_POOL_TAG);
}

// Ends the first Count threads.
static VOID
EnvoyStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&EnvoyStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&EnvoyWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(EnvoyThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(EnvoyThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
EnvoyStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < ENVOY_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EnvoyThread, NULL);
        if (!NT_SUCCESS(Status)) {
            EnvoyStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EnvoyThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
EnvoyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The threads last longer than the bindings: a pending detach needs the thread whose call it waits for.
    if (NmrDeregisterClient(EnvoyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(EnvoyClientHandle);
    }

    EnvoyStopThreads(ENVOY_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EnvoyUnload;

    KeInitializeEvent(&EnvoyStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&EnvoyWork, 0, MAXLONG);
    KeInitializeSpinLock(&EnvoyLock);
    InitializeListHead(&EnvoyBindings);

    Status = EnvoyStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&EnvoyCharacteristics, NULL, &EnvoyClientHandle);
    if (!NT_SUCCESS(Status)) {
        EnvoyStopThreads(ENVOY_THREADS);
    }

    return Status;
}
