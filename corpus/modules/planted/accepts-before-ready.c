// nmrfuzz: module
// summary: Provider and client bound to itself whose provider leaves the preparation of a binding to its thread.
// provides: 1
// consumes: 1
// expect: lock-misuse
// rule: R54
// needs: the client calls before the thread has prepared the binding
// interleaving: yes
// hardness: 4 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LAGOON_POOL_TAG 'ogaL'
#define LAGOON_GLANCES 2
#define LAGOON_FIRST_VALUE 100

typedef struct _LAGOON_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} LAGOON_DISPATCH;

typedef struct _LAGOON_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} LAGOON_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _LAGOON_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG LastValue;
} LAGOON_SURFACE, *PLAGOON_SURFACE;

// The client's end.
typedef struct _LAGOON_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const LAGOON_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} LAGOON_VIEW, *PLAGOON_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LagoonUnload;
static KSTART_ROUTINE LagoonThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN LagoonAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LagoonDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN LagoonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LagoonDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LagoonCleanup; // Of both sides.

static const NPIID LagoonNpiId = { 0x8d8e28e5, 0xa90e, 0x53f6, { 0x85, 0x24, 0x71, 0xaf, 0x3b, 0x22, 0x19, 0x9e } };
static const NPI_MODULEID LagoonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe4cc4015, 0x0636, 0x524a, { 0xbc, 0x58, 0xf6, 0x48, 0xeb, 0xe9, 0x5b, 0x5f } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LagoonProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LagoonAttachClient,
    LagoonDetachClient,
    LagoonCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LagoonNpiId, &LagoonModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS LagoonClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LagoonAttachProvider,
    LagoonDetachProvider,
    LagoonCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LagoonNpiId, &LagoonModuleId, 0, NULL }
};

static HANDLE LagoonProviderHandle;
static HANDLE LagoonClientHandle;
static PKTHREAD LagoonThreadObject;
static KEVENT LagoonWake; // Synchronization event: a view is new, or the thread shall end.
static PVOID LagoonNewSurface; // To be prepared by the thread.
static LONG LagoonLastReflection;
static KSPIN_LOCK LagoonLock;
_Guarded_by_(LagoonLock) static LIST_ENTRY LagoonViews;
_Guarded_by_(LagoonLock) static BOOLEAN LagoonStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
LagoonReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PLAGOON_SURFACE Surface = (PLAGOON_SURFACE)ProviderBindingContext;

    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = Surface->LastValue;
    Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
LagoonWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PLAGOON_VIEW View = (PLAGOON_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const LAGOON_DISPATCH LagoonDispatch = { LagoonReflect };
static const LAGOON_CLIENT_DISPATCH LagoonClientDispatch = { LagoonWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PLAGOON_VIEW
LagoonBeginCall(_Out_ PBOOLEAN Stopping)
{
    PLAGOON_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LagoonLock, &OldIrql);
    *Stopping = LagoonStopping;
    for (Entry = LagoonViews.Flink; Entry != &LagoonViews && Found == NULL; Entry = Entry->Flink) {
        PLAGOON_VIEW View = CONTAINING_RECORD(Entry, LAGOON_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&LagoonLock, OldIrql);
    return Found;
}

static VOID
LagoonEndCall(_In_ PLAGOON_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LagoonLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&LagoonLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
LagoonGlance(_In_ PLAGOON_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&LagoonLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
LagoonThread(PVOID StartContext)
{
    PLAGOON_SURFACE Surface;
    PLAGOON_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&LagoonWake, Executive, KernelMode, FALSE, NULL);
        Surface = (PLAGOON_SURFACE)InterlockedExchangePointer(&LagoonNewSurface, NULL);
        if (Surface != NULL) {
            ExInitializeFastMutex(&Surface->Mutex);
        }
        while ((View = LagoonBeginCall(&Stopping)) != NULL) {
            LagoonGlance(View);
            LagoonEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LagoonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLAGOON_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PLAGOON_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), LAGOON_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Defect: the client may call as soon as this returns, when the thread has perhaps not come to it.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    InterlockedExchangePointer(&LagoonNewSurface, Surface);
    KeSetEvent(&LagoonWake, IO_NO_INCREMENT, FALSE);

    ((const LAGOON_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, LAGOON_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &LagoonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LagoonDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // Calls of the client may be in progress until it is detached as well, so the surface stays as it is.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LagoonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLAGOON_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PLAGOON_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), LAGOON_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = LAGOON_GLANCES;
    ExInitializeFastMutex(&View->Mutex);

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &LagoonClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, LAGOON_POOL_TAG);
        return Status;
    }

    // The first glance is made here: no detach can come before this callback has returned.
    LagoonGlance(View);

    KeAcquireSpinLock(&LagoonLock, &OldIrql);
    InsertTailList(&LagoonViews, &View->Link);
    KeReleaseSpinLock(&LagoonLock, OldIrql);

    KeSetEvent(&LagoonWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LagoonDetachProvider(PVOID ClientBindingContext)
{
    PLAGOON_VIEW View = (PLAGOON_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LagoonLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&LagoonLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LagoonCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, LAGOON_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
LagoonStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, LagoonThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&LagoonThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
LagoonStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&LagoonLock, &OldIrql);
    LagoonStopping = TRUE;
    KeReleaseSpinLock(&LagoonLock, OldIrql);
    KeSetEvent(&LagoonWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(LagoonThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(LagoonThreadObject);
}

_Use_decl_annotations_
static VOID
LagoonUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(LagoonProviderHandle);
    ClientStatus = NmrDeregisterClient(LagoonClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LagoonProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LagoonClientHandle);
    }

    LagoonStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LagoonUnload;

    KeInitializeEvent(&LagoonWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&LagoonLock);
    InitializeListHead(&LagoonViews);

    Status = LagoonStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&LagoonProviderCharacteristics, NULL, &LagoonProviderHandle);
    if (!NT_SUCCESS(Status)) {
        LagoonStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&LagoonClientCharacteristics, NULL, &LagoonClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(LagoonProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(LagoonProviderHandle);
        }
        LagoonStopThread();
    }

    return Status;
}
