// nmrfuzz: module
// summary: Provider and client bound to itself whose provider frees in its detach callback what its client's calls use.
// provides: 1
// consumes: 1
// expect: use-after-free
// rule: R84, R80
// needs: a call of the client is in progress when the provider is detached
// interleaving: yes
// hardness: 3 schedules; 1000+ run to completion

// The client counts its calls and pends its detach while one is in progress.

#include <ntddk.h>
#include <netioddk.h>

#define PRISM_POOL_TAG 'sirP'
#define PRISM_GLANCES 2
#define PRISM_FIRST_VALUE 100

typedef struct _PRISM_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} PRISM_DISPATCH;

typedef struct _PRISM_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} PRISM_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _PRISM_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) PLONG LastValue;
} PRISM_SURFACE, *PPRISM_SURFACE;

// The client's end.
typedef struct _PRISM_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const PRISM_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} PRISM_VIEW, *PPRISM_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PrismUnload;
static KSTART_ROUTINE PrismThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PrismAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PrismDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN PrismAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PrismDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PrismCleanup; // Of both sides.

static const NPIID PrismNpiId = { 0x39341a73, 0xa1d5, 0x59d7, { 0xbe, 0x75, 0xbe, 0xb5, 0x7f, 0x6f, 0x73, 0xaa } };
static const NPI_MODULEID PrismModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5188d6a5, 0xc49d, 0x5859, { 0xb9, 0x8f, 0x59, 0x13, 0x59, 0x03, 0x6c, 0x96 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PrismProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PrismAttachClient,
    PrismDetachClient,
    PrismCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PrismNpiId, &PrismModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS PrismClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PrismAttachProvider,
    PrismDetachProvider,
    PrismCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PrismNpiId, &PrismModuleId, 0, NULL }
};

static HANDLE PrismProviderHandle;
static HANDLE PrismClientHandle;
static PKTHREAD PrismThreadObject;
static KEVENT PrismWake; // Synchronization event: a view is new, or the thread shall end.
static LONG PrismLastReflection;
static KSPIN_LOCK PrismLock;
_Guarded_by_(PrismLock) static LIST_ENTRY PrismViews;
_Guarded_by_(PrismLock) static BOOLEAN PrismStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
PrismReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PPRISM_SURFACE Surface = (PPRISM_SURFACE)ProviderBindingContext;

    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = *Surface->LastValue;
    *Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
PrismWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PPRISM_VIEW View = (PPRISM_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const PRISM_DISPATCH PrismDispatch = { PrismReflect };
static const PRISM_CLIENT_DISPATCH PrismClientDispatch = { PrismWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PPRISM_VIEW
PrismBeginCall(_Out_ PBOOLEAN Stopping)
{
    PPRISM_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PrismLock, &OldIrql);
    *Stopping = PrismStopping;
    for (Entry = PrismViews.Flink; Entry != &PrismViews && Found == NULL; Entry = Entry->Flink) {
        PPRISM_VIEW View = CONTAINING_RECORD(Entry, PRISM_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&PrismLock, OldIrql);
    return Found;
}

static VOID
PrismEndCall(_In_ PPRISM_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PrismLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&PrismLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
PrismGlance(_In_ PPRISM_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&PrismLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
PrismThread(PVOID StartContext)
{
    PPRISM_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&PrismWake, Executive, KernelMode, FALSE, NULL);
        while ((View = PrismBeginCall(&Stopping)) != NULL) {
            PrismGlance(View);
            PrismEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PrismAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPRISM_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PPRISM_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), PRISM_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Surface->LastValue = (PLONG)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(LONG), PRISM_POOL_TAG);
    if (Surface->LastValue == NULL) {
        ExFreePoolWithTag(Surface, PRISM_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // The client may call as soon as this returns.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    ExInitializeFastMutex(&Surface->Mutex);

    ((const PRISM_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, PRISM_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &PrismDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PrismDetachClient(PVOID ProviderBindingContext)
{
    PPRISM_SURFACE Surface = (PPRISM_SURFACE)ProviderBindingContext;

    // Defect: that this side is detached does not end the calls of the other side.
    ExFreePoolWithTag(Surface->LastValue, PRISM_POOL_TAG);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PrismAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPRISM_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PPRISM_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), PRISM_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = PRISM_GLANCES;
    ExInitializeFastMutex(&View->Mutex);

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &PrismClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, PRISM_POOL_TAG);
        return Status;
    }

    // The first glance is made here: no detach can come before this callback has returned.
    PrismGlance(View);

    KeAcquireSpinLock(&PrismLock, &OldIrql);
    InsertTailList(&PrismViews, &View->Link);
    KeReleaseSpinLock(&PrismLock, OldIrql);

    KeSetEvent(&PrismWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PrismDetachProvider(PVOID ClientBindingContext)
{
    PPRISM_VIEW View = (PPRISM_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PrismLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&PrismLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PrismCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, PRISM_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PrismStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PrismThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PrismThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PrismStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&PrismLock, &OldIrql);
    PrismStopping = TRUE;
    KeReleaseSpinLock(&PrismLock, OldIrql);
    KeSetEvent(&PrismWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(PrismThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PrismThreadObject);
}

_Use_decl_annotations_
static VOID
PrismUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(PrismProviderHandle);
    ClientStatus = NmrDeregisterClient(PrismClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PrismProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PrismClientHandle);
    }

    PrismStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PrismUnload;

    KeInitializeEvent(&PrismWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&PrismLock);
    InitializeListHead(&PrismViews);

    Status = PrismStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PrismProviderCharacteristics, NULL, &PrismProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PrismStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&PrismClientCharacteristics, NULL, &PrismClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(PrismProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(PrismProviderHandle);
        }
        PrismStopThread();
    }

    return Status;
}
