// nmrfuzz: module
// summary: Provider and client of one and the same NPI, and so bound to itself; each side calls the other.
// provides: 1
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The registrar pairs the two registrations like any others. The client counts its calls and pends its detach while
// one is in progress; the provider keeps its state until cleanup, for the client may still be calling it. The provider
// calls the client only once, from inside its attach callback, so its own detach finds no call in progress.

#include <ntddk.h>
#include <netioddk.h>

#define MIRROR_POOL_TAG 'rriM'
#define MIRROR_GLANCES 2
#define MIRROR_FIRST_VALUE 100

typedef struct _MIRROR_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} MIRROR_DISPATCH;

typedef struct _MIRROR_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} MIRROR_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _MIRROR_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG LastValue;
} MIRROR_SURFACE, *PMIRROR_SURFACE;

// The client's end.
typedef struct _MIRROR_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const MIRROR_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} MIRROR_VIEW, *PMIRROR_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MirrorUnload;
static KSTART_ROUTINE MirrorThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN MirrorAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN MirrorDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN MirrorAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MirrorDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MirrorCleanup; // Of both sides.

static const NPIID MirrorNpiId = { 0xf718021e, 0x0538, 0x5395, { 0x90, 0xe9, 0xfe, 0xe1, 0x6c, 0xaa, 0xfa, 0x89 } };
static const NPI_MODULEID MirrorModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x726ad304, 0x4128, 0x576e, { 0x8f, 0x00, 0x89, 0xfc, 0x93, 0x77, 0xff, 0x49 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS MirrorProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    MirrorAttachClient,
    MirrorDetachClient,
    MirrorCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MirrorNpiId, &MirrorModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS MirrorClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MirrorAttachProvider,
    MirrorDetachProvider,
    MirrorCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MirrorNpiId, &MirrorModuleId, 0, NULL }
};

static HANDLE MirrorProviderHandle;
static HANDLE MirrorClientHandle;
static PKTHREAD MirrorThreadObject;
static KEVENT MirrorWake; // Synchronization event: a view is new, or the thread shall end.
static LONG MirrorLastReflection;
static KSPIN_LOCK MirrorLock;
_Guarded_by_(MirrorLock) static LIST_ENTRY MirrorViews;
_Guarded_by_(MirrorLock) static BOOLEAN MirrorStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
MirrorReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PMIRROR_SURFACE Surface = (PMIRROR_SURFACE)ProviderBindingContext;

    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = Surface->LastValue;
    Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
MirrorWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PMIRROR_VIEW View = (PMIRROR_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const MIRROR_DISPATCH MirrorDispatch = { MirrorReflect };
static const MIRROR_CLIENT_DISPATCH MirrorClientDispatch = { MirrorWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PMIRROR_VIEW
MirrorBeginCall(_Out_ PBOOLEAN Stopping)
{
    PMIRROR_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MirrorLock, &OldIrql);
    *Stopping = MirrorStopping;
    for (Entry = MirrorViews.Flink; Entry != &MirrorViews && Found == NULL; Entry = Entry->Flink) {
        PMIRROR_VIEW View = CONTAINING_RECORD(Entry, MIRROR_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&MirrorLock, OldIrql);
    return Found;
}

static VOID
MirrorEndCall(_In_ PMIRROR_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MirrorLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&MirrorLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
MirrorGlance(_In_ PMIRROR_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&MirrorLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
MirrorThread(PVOID StartContext)
{
    PMIRROR_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&MirrorWake, Executive, KernelMode, FALSE, NULL);
        while ((View = MirrorBeginCall(&Stopping)) != NULL) {
            MirrorGlance(View);
            MirrorEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MirrorAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PMIRROR_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PMIRROR_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), MIRROR_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // The client may call as soon as this returns.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    ExInitializeFastMutex(&Surface->Mutex);

    ((const MIRROR_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, MIRROR_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &MirrorDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MirrorDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // Calls of the client may be in progress until it is detached as well, so the surface stays as it is.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MirrorAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMIRROR_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PMIRROR_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), MIRROR_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = MIRROR_GLANCES;
    ExInitializeFastMutex(&View->Mutex);

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &MirrorClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, MIRROR_POOL_TAG);
        return Status;
    }

    // The first glance is made here: no detach can come before this callback has returned.
    MirrorGlance(View);

    KeAcquireSpinLock(&MirrorLock, &OldIrql);
    InsertTailList(&MirrorViews, &View->Link);
    KeReleaseSpinLock(&MirrorLock, OldIrql);

    KeSetEvent(&MirrorWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MirrorDetachProvider(PVOID ClientBindingContext)
{
    PMIRROR_VIEW View = (PMIRROR_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MirrorLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&MirrorLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MirrorCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, MIRROR_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
MirrorStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, MirrorThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&MirrorThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
MirrorStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&MirrorLock, &OldIrql);
    MirrorStopping = TRUE;
    KeReleaseSpinLock(&MirrorLock, OldIrql);
    KeSetEvent(&MirrorWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(MirrorThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(MirrorThreadObject);
}

_Use_decl_annotations_
static VOID
MirrorUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(MirrorProviderHandle);
    ClientStatus = NmrDeregisterClient(MirrorClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(MirrorProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MirrorClientHandle);
    }

    MirrorStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MirrorUnload;

    KeInitializeEvent(&MirrorWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&MirrorLock);
    InitializeListHead(&MirrorViews);

    Status = MirrorStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&MirrorProviderCharacteristics, NULL, &MirrorProviderHandle);
    if (!NT_SUCCESS(Status)) {
        MirrorStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&MirrorClientCharacteristics, NULL, &MirrorClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(MirrorProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(MirrorProviderHandle);
        }
        MirrorStopThread();
    }

    return Status;
}
