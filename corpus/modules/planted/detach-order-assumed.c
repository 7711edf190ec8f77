// nmrfuzz: module
// summary: Provider and client bound to itself whose provider asserts in its detach that no call is in progress.
// provides: 1
// consumes: 1
// expect: bug-check
// rule: R81
// needs: a call of the client is in progress when the provider is detached
// interleaving: yes
// hardness: 3 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LATTICE_POOL_TAG 'ttaL'
#define LATTICE_GLANCES 2
#define LATTICE_FIRST_VALUE 100

typedef struct _LATTICE_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} LATTICE_DISPATCH;

typedef struct _LATTICE_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} LATTICE_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _LATTICE_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    LONG CallsInProgress;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG LastValue;
} LATTICE_SURFACE, *PLATTICE_SURFACE;

// The client's end.
typedef struct _LATTICE_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const LATTICE_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} LATTICE_VIEW, *PLATTICE_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LatticeUnload;
static KSTART_ROUTINE LatticeThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN LatticeAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LatticeDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN LatticeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LatticeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LatticeCleanup; // Of both sides.

static const NPIID LatticeNpiId = { 0xfc5532df, 0xa472, 0x575e, { 0x96, 0x04, 0xe4, 0x0b, 0x6f, 0x40, 0x80, 0xdc } };
static const NPI_MODULEID LatticeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xbca26a6b, 0x4303, 0x5920, { 0xba, 0x23, 0x6f, 0x8a, 0x0b, 0x03, 0x36, 0x06 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LatticeProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LatticeAttachClient,
    LatticeDetachClient,
    LatticeCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LatticeNpiId, &LatticeModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS LatticeClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LatticeAttachProvider,
    LatticeDetachProvider,
    LatticeCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LatticeNpiId, &LatticeModuleId, 0, NULL }
};

static HANDLE LatticeProviderHandle;
static HANDLE LatticeClientHandle;
static PKTHREAD LatticeThreadObject;
static KEVENT LatticeWake; // Synchronization event: a view is new, or the thread shall end.
static LONG LatticeLastReflection;
static KSPIN_LOCK LatticeLock;
_Guarded_by_(LatticeLock) static LIST_ENTRY LatticeViews;
_Guarded_by_(LatticeLock) static BOOLEAN LatticeStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
LatticeReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PLATTICE_SURFACE Surface = (PLATTICE_SURFACE)ProviderBindingContext;

    InterlockedIncrement(&Surface->CallsInProgress);
    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = Surface->LastValue;
    Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    InterlockedDecrement(&Surface->CallsInProgress);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
LatticeWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PLATTICE_VIEW View = (PLATTICE_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const LATTICE_DISPATCH LatticeDispatch = { LatticeReflect };
static const LATTICE_CLIENT_DISPATCH LatticeClientDispatch = { LatticeWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PLATTICE_VIEW
LatticeBeginCall(_Out_ PBOOLEAN Stopping)
{
    PLATTICE_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LatticeLock, &OldIrql);
    *Stopping = LatticeStopping;
    for (Entry = LatticeViews.Flink; Entry != &LatticeViews && Found == NULL; Entry = Entry->Flink) {
        PLATTICE_VIEW View = CONTAINING_RECORD(Entry, LATTICE_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&LatticeLock, OldIrql);
    return Found;
}

static VOID
LatticeEndCall(_In_ PLATTICE_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LatticeLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&LatticeLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
LatticeGlance(_In_ PLATTICE_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&LatticeLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
LatticeThread(PVOID StartContext)
{
    PLATTICE_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&LatticeWake, Executive, KernelMode, FALSE, NULL);
        while ((View = LatticeBeginCall(&Stopping)) != NULL) {
            LatticeGlance(View);
            LatticeEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LatticeAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLATTICE_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PLATTICE_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), LATTICE_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // The client may call as soon as this returns.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    ExInitializeFastMutex(&Surface->Mutex);

    ((const LATTICE_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, LATTICE_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &LatticeDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LatticeDetachClient(PVOID ProviderBindingContext)
{
    PLATTICE_SURFACE Surface = (PLATTICE_SURFACE)ProviderBindingContext;

    // Defect: the client need not have been detached before.
    NT_ASSERT(InterlockedCompareExchange(&Surface->CallsInProgress, 0, 0) == 0);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LatticeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLATTICE_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PLATTICE_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), LATTICE_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = LATTICE_GLANCES;
    ExInitializeFastMutex(&View->Mutex);

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &LatticeClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, LATTICE_POOL_TAG);
        return Status;
    }

    // The first glance is made here: no detach can come before this callback has returned.
    LatticeGlance(View);

    KeAcquireSpinLock(&LatticeLock, &OldIrql);
    InsertTailList(&LatticeViews, &View->Link);
    KeReleaseSpinLock(&LatticeLock, OldIrql);

    KeSetEvent(&LatticeWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LatticeDetachProvider(PVOID ClientBindingContext)
{
    PLATTICE_VIEW View = (PLATTICE_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LatticeLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&LatticeLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LatticeCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, LATTICE_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
LatticeStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, LatticeThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&LatticeThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
LatticeStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&LatticeLock, &OldIrql);
    LatticeStopping = TRUE;
    KeReleaseSpinLock(&LatticeLock, OldIrql);
    KeSetEvent(&LatticeWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(LatticeThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(LatticeThreadObject);
}

_Use_decl_annotations_
static VOID
LatticeUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(LatticeProviderHandle);
    ClientStatus = NmrDeregisterClient(LatticeClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LatticeProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LatticeClientHandle);
    }

    LatticeStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LatticeUnload;

    KeInitializeEvent(&LatticeWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&LatticeLock);
    InitializeListHead(&LatticeViews);

    Status = LatticeStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&LatticeProviderCharacteristics, NULL, &LatticeProviderHandle);
    if (!NT_SUCCESS(Status)) {
        LatticeStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&LatticeClientCharacteristics, NULL, &LatticeClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(LatticeProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(LatticeProviderHandle);
        }
        LatticeStopThread();
    }

    return Status;
}
