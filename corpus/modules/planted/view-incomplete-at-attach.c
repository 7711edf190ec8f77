// nmrfuzz: module
// summary: Provider and client bound to itself whose client initialises its mutex when the provider has accepted.
// provides: 1
// consumes: 1
// expect: lock-misuse
// rule: R40
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CASEMENT_POOL_TAG 'esaC'
#define CASEMENT_GLANCES 2
#define CASEMENT_FIRST_VALUE 100

typedef struct _CASEMENT_DISPATCH {
    NTSTATUS(NTAPI *Reflect)(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection);
} CASEMENT_DISPATCH;

typedef struct _CASEMENT_CLIENT_DISPATCH {
    VOID(NTAPI *Welcome)(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue);
} CASEMENT_CLIENT_DISPATCH;

// The provider's end of a binding.
typedef struct _CASEMENT_SURFACE {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG LastValue;
} CASEMENT_SURFACE, *PCASEMENT_SURFACE;

// The client's end.
typedef struct _CASEMENT_VIEW {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const CASEMENT_DISPATCH *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG GlancesOwed;
    BOOLEAN Detaching;
    FAST_MUTEX Mutex;
    _Guarded_by_(Mutex) LONG NextValue;
} CASEMENT_VIEW, *PCASEMENT_VIEW;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CasementUnload;
static KSTART_ROUTINE CasementThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN CasementAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CasementDetachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN CasementAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CasementDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CasementCleanup; // Of both sides.

static const NPIID CasementNpiId = { 0x405fa4a9, 0x4965, 0x5857, { 0xaf, 0x12, 0x40, 0xe2, 0xff, 0xd6, 0xe3, 0xde } };
static const NPI_MODULEID CasementModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x7b849cc1, 0xde1f, 0x57bd, { 0x86, 0x68, 0x32, 0x56, 0x38, 0x5e, 0x7c, 0xd2 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CasementProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CasementAttachClient,
    CasementDetachClient,
    CasementCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CasementNpiId, &CasementModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS CasementClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CasementAttachProvider,
    CasementDetachProvider,
    CasementCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CasementNpiId, &CasementModuleId, 0, NULL }
};

static HANDLE CasementProviderHandle;
static HANDLE CasementClientHandle;
static PKTHREAD CasementThreadObject;
static KEVENT CasementWake; // Synchronization event: a view is new, or the thread shall end.
static LONG CasementLastReflection;
static KSPIN_LOCK CasementLock;
_Guarded_by_(CasementLock) static LIST_ENTRY CasementViews;
_Guarded_by_(CasementLock) static BOOLEAN CasementStopping;

// PASSIVE_LEVEL.
_Must_inspect_result_
static NTSTATUS NTAPI
CasementReflect(_In_ PVOID ProviderBindingContext, _In_ LONG Value, _Out_ PLONG Reflection)
{
    PCASEMENT_SURFACE Surface = (PCASEMENT_SURFACE)ProviderBindingContext;

    ExAcquireFastMutex(&Surface->Mutex);
    *Reflection = Surface->LastValue;
    Surface->LastValue = Value;
    ExReleaseFastMutex(&Surface->Mutex);
    return STATUS_SUCCESS;
}

// May come before NmrClientAttachProvider has returned. PASSIVE_LEVEL.
static VOID NTAPI
CasementWelcome(_In_ PVOID ClientBindingContext, _In_ LONG FirstValue)
{
    PCASEMENT_VIEW View = (PCASEMENT_VIEW)ClientBindingContext;

    ExAcquireFastMutex(&View->Mutex);
    View->NextValue = FirstValue;
    ExReleaseFastMutex(&View->Mutex);
}

static const CASEMENT_DISPATCH CasementDispatch = { CasementReflect };
static const CASEMENT_CLIENT_DISPATCH CasementClientDispatch = { CasementWelcome };

// Counts a call on a view that a glance is owed; NULL if there is none.
_Must_inspect_result_
static PCASEMENT_VIEW
CasementBeginCall(_Out_ PBOOLEAN Stopping)
{
    PCASEMENT_VIEW Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CasementLock, &OldIrql);
    *Stopping = CasementStopping;
    for (Entry = CasementViews.Flink; Entry != &CasementViews && Found == NULL; Entry = Entry->Flink) {
        PCASEMENT_VIEW View = CONTAINING_RECORD(Entry, CASEMENT_VIEW, Link);

        if (View->GlancesOwed != 0) {
            View->GlancesOwed--;
            View->CallsInProgress++;
            Found = View;
        }
    }
    KeReleaseSpinLock(&CasementLock, OldIrql);
    return Found;
}

static VOID
CasementEndCall(_In_ PCASEMENT_VIEW View)
{
    HANDLE BindingHandle = View->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CasementLock, &OldIrql);
    View->CallsInProgress--;
    Last = View->Detaching && View->CallsInProgress == 0;
    KeReleaseSpinLock(&CasementLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
CasementGlance(_In_ PCASEMENT_VIEW View)
{
    LONG Reflection;
    LONG Value;

    ExAcquireFastMutex(&View->Mutex);
    Value = View->NextValue++;
    ExReleaseFastMutex(&View->Mutex);

    if (NT_SUCCESS(View->ProviderDispatch->Reflect(View->ProviderBindingContext, Value, &Reflection))) {
        InterlockedExchange(&CasementLastReflection, Reflection);
    }
}

_Use_decl_annotations_
static VOID
CasementThread(PVOID StartContext)
{
    PCASEMENT_VIEW View;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&CasementWake, Executive, KernelMode, FALSE, NULL);
        while ((View = CasementBeginCall(&Stopping)) != NULL) {
            CasementGlance(View);
            CasementEndCall(View);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CasementAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCASEMENT_SURFACE Surface;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Surface = (PCASEMENT_SURFACE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Surface), CASEMENT_POOL_TAG);
    if (Surface == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // The client may call as soon as this returns.
    Surface->BindingHandle = NmrBindingHandle;
    Surface->ClientBindingContext = ClientBindingContext;
    ExInitializeFastMutex(&Surface->Mutex);

    ((const CASEMENT_CLIENT_DISPATCH *)ClientDispatch)->Welcome(ClientBindingContext, CASEMENT_FIRST_VALUE);

    *ProviderBindingContext = Surface;
    *ProviderDispatch = &CasementDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CasementDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // Calls of the client may be in progress until it is detached as well, so the surface stays as it is.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CasementAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCASEMENT_VIEW View;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    View = (PCASEMENT_VIEW)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*View), CASEMENT_POOL_TAG);
    if (View == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    View->BindingHandle = NmrBindingHandle;
    View->GlancesOwed = CASEMENT_GLANCES;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        View,
        &CasementClientDispatch,
        &View->ProviderBindingContext,
        (CONST VOID **)&View->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(View, CASEMENT_POOL_TAG);
        return Status;
    }

    // Defect: the provider may have called from inside its attach callback.
    ExInitializeFastMutex(&View->Mutex);

    // The first glance is made here: no detach can come before this callback has returned.
    CasementGlance(View);

    KeAcquireSpinLock(&CasementLock, &OldIrql);
    InsertTailList(&CasementViews, &View->Link);
    KeReleaseSpinLock(&CasementLock, OldIrql);

    KeSetEvent(&CasementWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CasementDetachProvider(PVOID ClientBindingContext)
{
    PCASEMENT_VIEW View = (PCASEMENT_VIEW)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CasementLock, &OldIrql);
    RemoveEntryList(&View->Link);
    View->Detaching = TRUE;
    Busy = View->CallsInProgress != 0;
    KeReleaseSpinLock(&CasementLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CasementCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, CASEMENT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
CasementStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CasementThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CasementThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
CasementStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CasementLock, &OldIrql);
    CasementStopping = TRUE;
    KeReleaseSpinLock(&CasementLock, OldIrql);
    KeSetEvent(&CasementWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(CasementThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(CasementThreadObject);
}

_Use_decl_annotations_
static VOID
CasementUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(CasementProviderHandle);
    ClientStatus = NmrDeregisterClient(CasementClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CasementProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CasementClientHandle);
    }

    CasementStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CasementUnload;

    KeInitializeEvent(&CasementWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&CasementLock);
    InitializeListHead(&CasementViews);

    Status = CasementStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&CasementProviderCharacteristics, NULL, &CasementProviderHandle);
    if (!NT_SUCCESS(Status)) {
        CasementStopThread();
        return Status;
    }

    Status = NmrRegisterClient(&CasementClientCharacteristics, NULL, &CasementClientHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(CasementProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(CasementProviderHandle);
        }
        CasementStopThread();
    }

    return Status;
}
