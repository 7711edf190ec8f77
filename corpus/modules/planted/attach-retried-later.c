// nmrfuzz: module
// summary: Client whose thread asks a provider that has refused again, when the attach callback may have returned.
// provides: 0
// consumes: 1
// expect: bad-handle, bad-call
// rule: R32
// needs: provider declines, or the attach fails
// interleaving: no
// hardness: 9 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SUITOR_POOL_TAG 'tiuS'

typedef struct _SUITOR_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN Detaching;
    LONG64 LastDrag;
} SUITOR_BINDING, *PSUITOR_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SuitorUnload;
static KSTART_ROUTINE SuitorThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN SuitorAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SuitorDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SuitorCleanupBindingContext;

static const NPIID SuitorNpiId = { 0x87a8f296, 0xb97d, 0x52bb, { 0x8f, 0xab, 0x27, 0xa7, 0x94, 0x1d, 0x8b, 0xce } };
static const NPI_MODULEID SuitorModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x17c2b9e1, 0x3636, 0x57ea, { 0xaf, 0x5a, 0x2b, 0xc4, 0x3c, 0xb7, 0x1e, 0x32 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SuitorCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SuitorAttachProvider,
    SuitorDetachProvider,
    SuitorCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SuitorNpiId, &SuitorModuleId, 0, NULL }
};

static HANDLE SuitorClientHandle;
static PKTHREAD SuitorThreadObject;
static KEVENT SuitorWake; // Synchronization event: there is a binding, or the thread shall end.
static KSPIN_LOCK SuitorLock;
_Guarded_by_(SuitorLock) static BOOLEAN SuitorTaken;
_Guarded_by_(SuitorLock) static PSUITOR_BINDING SuitorCurrent; // While it is attached and not detaching.
_Guarded_by_(SuitorLock) static PSUITOR_BINDING SuitorRefused; // To be tried again.
_Guarded_by_(SuitorLock) static BOOLEAN SuitorStopping;

_Must_inspect_result_
static BOOLEAN
SuitorTakePlace(VOID)
{
    BOOLEAN Free;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    Free = !SuitorTaken;
    SuitorTaken = TRUE;
    KeReleaseSpinLock(&SuitorLock, OldIrql);
    return Free;
}

static VOID
SuitorGiveUpPlace(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    SuitorTaken = FALSE;
    KeReleaseSpinLock(&SuitorLock, OldIrql);
}

_Must_inspect_result_
static PSUITOR_BINDING
SuitorBeginUse(_Out_ PBOOLEAN Stopping)
{
    PSUITOR_BINDING Binding;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    *Stopping = SuitorStopping;
    Binding = SuitorCurrent;
    if (Binding != NULL) {
        Binding->UsesInProgress++;
    }
    KeReleaseSpinLock(&SuitorLock, OldIrql);
    return Binding;
}

static VOID
SuitorEndUse(_In_ PSUITOR_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&SuitorLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
SuitorSetCurrent(_In_ PSUITOR_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    SuitorCurrent = Binding;
    KeReleaseSpinLock(&SuitorLock, OldIrql);
}

// Gives the provider that has refused a second chance.
static VOID
SuitorTryAgain(VOID)
{
    PSUITOR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    Binding = SuitorRefused;
    SuitorRefused = NULL;
    KeReleaseSpinLock(&SuitorLock, OldIrql);

    if (Binding == NULL) {
        return;
    }

    // Defect: only the attach callback itself may do this, and the binding is gone once it has returned the refusal.
    Status = NmrClientAttachProvider(
        Binding->BindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        SuitorSetCurrent(Binding);
    } else {
        ExFreePoolWithTag(Binding, SUITOR_POOL_TAG);
        SuitorGiveUpPlace();
    }
}

_Use_decl_annotations_
static VOID
SuitorThread(PVOID StartContext)
{
    PSUITOR_BINDING Binding;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&SuitorWake, Executive, KernelMode, FALSE, NULL);
        SuitorTryAgain();
        Binding = SuitorBeginUse(&Stopping);
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastDrag, (LONG64)KeQueryInterruptTime());
            SuitorEndUse(Binding);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SuitorAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSUITOR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (!SuitorTakePlace()) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PSUITOR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SUITOR_POOL_TAG);
    if (Binding == NULL) {
        SuitorGiveUpPlace();
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        SuitorSetCurrent(Binding);
    } else {
        KeAcquireSpinLock(&SuitorLock, &OldIrql);
        SuitorRefused = Binding;
        KeReleaseSpinLock(&SuitorLock, OldIrql);
    }

    KeSetEvent(&SuitorWake, IO_NO_INCREMENT, FALSE);
    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SuitorDetachProvider(PVOID ClientBindingContext)
{
    PSUITOR_BINDING Binding = (PSUITOR_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    SuitorCurrent = NULL;
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&SuitorLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SuitorCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SUITOR_POOL_TAG);
    SuitorGiveUpPlace();
}

_Must_inspect_result_
static NTSTATUS
SuitorStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SuitorThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SuitorThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
SuitorStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SuitorLock, &OldIrql);
    SuitorStopping = TRUE;
    KeReleaseSpinLock(&SuitorLock, OldIrql);
    KeSetEvent(&SuitorWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(SuitorThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SuitorThreadObject);
}

_Use_decl_annotations_
static VOID
SuitorUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(SuitorClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SuitorClientHandle);
    }

    SuitorStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SuitorUnload;

    KeInitializeEvent(&SuitorWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&SuitorLock);

    Status = SuitorStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&SuitorCharacteristics, NULL, &SuitorClientHandle);
    if (!NT_SUCCESS(Status)) {
        SuitorStopThread();
    }

    return Status;
}
