// nmrfuzz: module
// summary: Client whose threads call providers through their dispatch; calls are counted under a lock, made without it.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// A call is counted under the spin lock, made after the lock has been dropped, and uncounted under the lock again. A
// detach that comes in between finds the count and pends; the call that takes the count to zero completes it. No call
// is counted once the detach callback has been entered, though one that was counted before may begin after it.

#include <ntddk.h>
#include <netioddk.h>

#define COURIER_POOL_TAG 'ruoC'
#define COURIER_THREADS 2

typedef struct _COURIER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Deliver)(_In_ PVOID ProviderBindingContext, _In_ ULONG Parcel);
} COURIER_PROVIDER_DISPATCH;

typedef struct _COURIER_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const COURIER_PROVIDER_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ParcelsOwed; // Calls that the threads still have to make.
    BOOLEAN Detaching;
    LONG Refused;
} COURIER_BINDING, *PCOURIER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CourierUnload;
static KSTART_ROUTINE CourierThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN CourierAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CourierDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CourierCleanupBindingContext;

static const NPIID CourierNpiId = { 0x1663dc8a, 0x220a, 0x5cbd, { 0xb0, 0xb9, 0x06, 0x71, 0x42, 0x7a, 0xa9, 0x48 } };
static const NPI_MODULEID CourierModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8107de2c, 0x77d0, 0x52fd, { 0x9d, 0xc2, 0x1f, 0x7a, 0x72, 0xc7, 0x39, 0x29 } } }
};

static const NPI_CLIENT_CHARACTERISTICS CourierCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CourierAttachProvider,
    CourierDetachProvider,
    CourierCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CourierNpiId, &CourierModuleId, 0, NULL }
};

static HANDLE CourierClientHandle;
static PKTHREAD CourierThreads[COURIER_THREADS];
static KEVENT CourierStop;
static KSEMAPHORE CourierWork; // One count for each parcel owed, and one for each thread to stop.
static KSPIN_LOCK CourierLock;
_Guarded_by_(CourierLock) static LIST_ENTRY CourierBindings;

// Takes one owed parcel and counts the call that will deliver it. NULL: nothing is owed.
_Must_inspect_result_
static PCOURIER_BINDING
CourierBeginCall(_Out_ PULONG Parcel)
{
    PCOURIER_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    *Parcel = 0;

    KeAcquireSpinLock(&CourierLock, &OldIrql);
    for (Entry = CourierBindings.Flink; Entry != &CourierBindings; Entry = Entry->Flink) {
        PCOURIER_BINDING Binding = CONTAINING_RECORD(Entry, COURIER_BINDING, Link);

        if (Binding->ParcelsOwed != 0) {
            *Parcel = Binding->ParcelsOwed--;
            Binding->CallsInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&CourierLock, OldIrql);
    return Found;
}

static VOID
CourierEndCall(_In_ PCOURIER_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CourierLock, &OldIrql);
    Binding->CallsInProgress--;
    Last = Binding->Detaching && Binding->CallsInProgress == 0;
    KeReleaseSpinLock(&CourierLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

// Makes one call of a provider, if one is due.
static VOID
CourierDeliver(VOID)
{
    PCOURIER_BINDING Binding;
    NTSTATUS Status;
    ULONG Parcel;

    Binding = CourierBeginCall(&Parcel);
    if (Binding == NULL) {
        return;
    }

    Status = Binding->ProviderDispatch->Deliver(Binding->ProviderBindingContext, Parcel);
    if (!NT_SUCCESS(Status)) {
        InterlockedIncrement(&Binding->Refused);
    }
    CourierEndCall(Binding);
}

_Use_decl_annotations_
static VOID
CourierThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&CourierWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&CourierStop) != 0) {
            break;
        }
        CourierDeliver();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CourierAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCOURIER_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PCOURIER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), COURIER_POOL_TAG);
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
        ExFreePoolWithTag(Binding, COURIER_POOL_TAG);
        return Status;
    }

    // A provider without the function is left alone.
    if (Binding->ProviderDispatch != NULL && Binding->ProviderDispatch->Deliver != NULL) {
        Binding->ParcelsOwed = COURIER_THREADS;
    }

    KeAcquireSpinLock(&CourierLock, &OldIrql);
    InsertTailList(&CourierBindings, &Binding->Link);
    KeReleaseSpinLock(&CourierLock, OldIrql);

    KeReleaseSemaphore(&CourierWork, IO_NO_INCREMENT, COURIER_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CourierDetachProvider(PVOID ClientBindingContext)
{
    PCOURIER_BINDING Binding = (PCOURIER_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CourierLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->CallsInProgress != 0;
    KeReleaseSpinLock(&CourierLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CourierCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, COURIER_POOL_TAG);
}

// Ends the first Count threads.
static VOID
CourierStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&CourierStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&CourierWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(CourierThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(CourierThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
CourierStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < COURIER_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CourierThread, NULL);
        if (!NT_SUCCESS(Status)) {
            CourierStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CourierThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
CourierUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // The threads last longer than the bindings: a pending detach needs the thread whose call it waits for.
    if (NmrDeregisterClient(CourierClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CourierClientHandle);
    }

    CourierStopThreads(COURIER_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CourierUnload;

    KeInitializeEvent(&CourierStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&CourierWork, 0, MAXLONG);
    KeInitializeSpinLock(&CourierLock);
    InitializeListHead(&CourierBindings);

    Status = CourierStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&CourierCharacteristics, NULL, &CourierClientHandle);
    if (!NT_SUCCESS(Status)) {
        CourierStopThreads(COURIER_THREADS);
    }

    return Status;
}
