// nmrfuzz: module
// summary: Provider and client bound to itself whose client, in cleanup, looks at the context of its provider.
// provides: 1
// consumes: 1
// expect: use-after-free
// rule: R81
// needs: the cleanup callback of the provider comes first
// interleaving: no
// hardness: 49 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FACET_POOL_TAG 'ecaF'
#define FACET_GLANCES 2
#define FACET_FIRST_VALUE 100

typedef struct _FACET_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} FACET_DISPATCH;

typedef struct _FACET_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} FACET_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _FACET_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG LastValue;
} FACET_SURFACE, *PFACET_SURFACE;

// The client's end.
typedef struct _FACET_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const FACET_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} FACET_VIEW, *PFACET_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FacetUnload;
static KSTART_ROUTINE FacetThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN FacetAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN FacetDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN FacetAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN FacetDetachProvider;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN FacetCleanupClient;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN FacetCleanupProvider;

static const NPIID FacetNpiId = { 0x51a9c972, 0x2084, 0x5409, { 0xb8, 0x4d, 0x50, 0x2d, 0xd9, 0x7d, 0xef, 0x48 } };
static const NPI_MODULEID FacetModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfef7cb36, 0xa70c, 0x5c83, { 0x83, 0x46, 0x5d, 0x96, 0xf8, 0x0a, 0xfe, 0x89 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS FacetProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    FacetAttachClient,
    FacetDetachClient,
    FacetCleanupClient,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FacetNpiId, &FacetModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS FacetClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    FacetAttachProvider,
    FacetDetachProvider,
    FacetCleanupProvider,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FacetNpiId, &FacetModuleId, 0, NULL }
};

static HANDLE FacetProviderHandle;
static HANDLE FacetClientHandle;
static PKTHREAD FacetThreadObject;
static KEVENT FacetWake; // Synchronization event: a view is new, or the thread shall end.
static LONG FacetLastReflection;
static KSPIN_LOCK FacetLock;
_Guarded_by_(FacetLock) static LIST_ENTRY FacetViews;
_Guarded_by_(FacetLock) static BOOLEAN FacetStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
FacetReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PFACET_SURFACE Surface = (PFACET_SURFACE)ProviderBindingContext;

    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = Surface->LastValue;
    Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
FacetWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PFACET_VIEW View = (PFACET_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const FACET_DISPATCH FacetDispatch = { FacetReflect };
static const FACET_CLIENT_DISPATCH FacetClientDispatch = { FacetWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PFACET_VIEW
FacetBeginCall(_Out_ PBOOLEAN Stopping)
{
    PFACET_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FacetLock, &OldIrql);
    *Stopping = FacetStopping;
    for (Entry = FacetViews.Flink; Entry != &FacetViews && Found == NULL; Entry = Entry->Flink) {
        PFACET_VIEW View = CONTAINING_RECORD(Entry, FACET_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&FacetLock, OldIrql);
    return Found;
}

static VOID
FacetEndCall(_In_ PFACET_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FacetLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&FacetLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
FacetGlance(_In_ PFACET_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&FacetLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
FacetThread(PVOID StartContext)
{
    PFACET_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&FacetWake, Executive, KernelMode, FALSE, NULL);
        while ((View = FacetBeginCall(&Stopping)) != NULL) {
            FacetGlance(View);
            FacetEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FacetAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFACET_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PFACET_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), FACET_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // The client may call as soon as this returns.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    ExInitializeFastMutex(&Surface->Mutex);

    ((const FACET_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, FACET_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &FacetDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FacetDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // Calls of the client may be in progress until it is detached as well, so the surface stays as it is.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FacetAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PFACET_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PFACET_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), FACET_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = FACET_GLANCES;
    ExInitializeFastMutex(&View->Mutex);

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &FacetClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, FACET_POOL_TAG);
        return Status;
    }

    // The first glance is made here: no detach can come before this callback has returned.
    FacetGlance(View);

    KeAcquireSpinLock(&FacetLock, &OldIrql);
    InsertTailList(&FacetViews, &View->Link);
    KeReleaseSpinLock(&FacetLock, OldIrql);

    KeSetEvent(&FacetWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FacetDetachProvider(PVOID ClientBindingContext)
{
    PFACET_VIEW View = (PFACET_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FacetLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&FacetLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FacetCleanupClient(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, FACET_POOL_TAG);
}

_Use_decl_annotations_
static VOID NTAPI
FacetCleanupProvider(PVOID ClientBindingContext)
{
    PFACET_VIEW View = (PFACET_VIEW)ClientBindingContext;

    // Defect: it is ours as well, but nothing is said about the order of the two cleanup callbacks.
    InterlockedExchange(&FacetLastReflection, ((PFACET_SURFACE)View->ProviderBindingContext)->LastValue);
    ExFreePoolWithTag(View, FACET_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
FacetStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, FacetThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&FacetThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
FacetStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&FacetLock, &OldIrql);
    FacetStopping = TRUE;
    KeReleaseSpinLock(&FacetLock, OldIrql);
    KeSetEvent(&FacetWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(FacetThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(FacetThreadObject);
}

_Use_decl_annotations_
static VOID
FacetUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(FacetProviderHandle);
    ClientStatus = NmrDeregisterClient(FacetClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(FacetProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(FacetClientHandle);
    }

    FacetStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FacetUnload;

    KeInitializeEvent(&FacetWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&FacetLock);
    InitializeListHead(&FacetViews);

    Status = FacetStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&FacetProviderCharacteristics, NULL, &FacetProviderHandle);
    if (!NT_SUCCESS(Status)) {
        FacetStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&FacetClientCharacteristics, NULL, &FacetClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(FacetProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(FacetProviderHandle);
        }
        FacetStopThread();
    }

    return Status;
}
