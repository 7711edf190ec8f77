// nmrfuzz: module
// summary: Client for one provider at a time that asks whether its place is free and takes it in two separate steps.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle, deadlock
// rule: R45, R72
// needs: two providers are offered at the same time and both leave while in use
// interleaving: yes
// hardness: 275 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

typedef struct _TETHER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN Detaching;
    LONG64 LastDrag;
} TETHER_BINDING, *PTETHER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TetherUnload;
static KSTART_ROUTINE TetherThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN TetherAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TetherDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TetherCleanupBindingContext;

static const NPIID TetherNpiId = { 0x1c5f03da, 0x3a23, 0x543b, { 0x8f, 0x8f, 0x9e, 0x91, 0xe0, 0x54, 0x94, 0x4d } };
static const NPI_MODULEID TetherModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x11509d46, 0xb2b0, 0x5b53, { 0xb7, 0xd4, 0x3a, 0x0e, 0xe1, 0xe5, 0x63, 0x1d } } }
};

static const NPI_CLIENT_CHARACTERISTICS TetherCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TetherAttachProvider,
    TetherDetachProvider,
    TetherCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TetherNpiId, &TetherModuleId, 0, NULL }
};

static HANDLE TetherClientHandle;
static PKTHREAD TetherThreadObject;
static KEVENT TetherWake; // Synchronization event: there is a binding, or the thread shall end.
static KSPIN_LOCK TetherLock;
static TETHER_BINDING TetherOnly;
_Guarded_by_(TetherLock) static BOOLEAN TetherTaken;
_Guarded_by_(TetherLock) static PTETHER_BINDING TetherCurrent; // While it is attached and not detaching.
_Guarded_by_(TetherLock) static BOOLEAN TetherStopping;

_Must_inspect_result_
static BOOLEAN
TetherIsTaken(VOID)
{
    BOOLEAN Taken;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    Taken = TetherTaken;
    KeReleaseSpinLock(&TetherLock, OldIrql);
    return Taken;
}

static VOID
TetherTakePlace(_In_ HANDLE BindingHandle)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    TetherTaken = TRUE;
    RtlZeroMemory(&TetherOnly, sizeof(TetherOnly));
    TetherOnly.BindingHandle = BindingHandle;
    KeReleaseSpinLock(&TetherLock, OldIrql);
}

static VOID
TetherGiveUpPlace(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    TetherTaken = FALSE;
    KeReleaseSpinLock(&TetherLock, OldIrql);
}

_Must_inspect_result_
static PTETHER_BINDING
TetherBeginUse(_Out_ PBOOLEAN Stopping)
{
    PTETHER_BINDING Binding;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    *Stopping = TetherStopping;
    Binding = TetherCurrent;
    if (Binding != NULL) {
        Binding->UsesInProgress++;
    }
    KeReleaseSpinLock(&TetherLock, OldIrql);
    return Binding;
}

static VOID
TetherEndUse(_In_ PTETHER_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&TetherLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
TetherThread(PVOID StartContext)
{
    PTETHER_BINDING Binding;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&TetherWake, Executive, KernelMode, FALSE, NULL);
        Binding = TetherBeginUse(&Stopping);
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastDrag, (LONG64)KeQueryInterruptTime());
            TetherEndUse(Binding);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TetherAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTETHER_BINDING Binding = &TetherOnly;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (TetherIsTaken()) {
        return STATUS_NOINTERFACE;
    }

    // Defect: another provider may have found the place free as well since the lock was released.
    TetherTakePlace(NmrBindingHandle);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        TetherGiveUpPlace();
        return Status;
    }

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    TetherCurrent = Binding;
    KeReleaseSpinLock(&TetherLock, OldIrql);

    KeSetEvent(&TetherWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TetherDetachProvider(PVOID ClientBindingContext)
{
    PTETHER_BINDING Binding = (PTETHER_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    TetherCurrent = NULL;
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&TetherLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TetherCleanupBindingContext(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    TetherGiveUpPlace();
}

_Must_inspect_result_
static NTSTATUS
TetherStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, TetherThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&TetherThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
TetherStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TetherLock, &OldIrql);
    TetherStopping = TRUE;
    KeReleaseSpinLock(&TetherLock, OldIrql);
    KeSetEvent(&TetherWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(TetherThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(TetherThreadObject);
}

_Use_decl_annotations_
static VOID
TetherUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(TetherClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TetherClientHandle);
    }

    TetherStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TetherUnload;

    KeInitializeEvent(&TetherWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&TetherLock);

    Status = TetherStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&TetherCharacteristics, NULL, &TetherClientHandle);
    if (!NT_SUCCESS(Status)) {
        TetherStopThread();
    }

    return Status;
}
