// nmrfuzz: module
// summary: Client for one provider at a time whose attach callback waits until the one before has been cleaned up.
// provides: 0
// consumes: 1
// expect: deadlock
// rule: R57
// needs: two providers at once, of which the first does not leave by itself
// interleaving: no
// hardness: median 26 schedules (default hunt)

#include <ntddk.h>
#include <netioddk.h>

#define BERTH_POOL_TAG 'treB'

typedef struct _BERTH_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN Detaching;
    LONG64 LastDrag;
} BERTH_BINDING, *PBERTH_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BerthUnload;
static KSTART_ROUTINE BerthThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN BerthAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BerthDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BerthCleanupBindingContext;

static const NPIID BerthNpiId = { 0xdd48c536, 0x8c48, 0x5a0f, { 0x9f, 0x0a, 0x40, 0x1a, 0x79, 0x67, 0x0b, 0x3f } };
static const NPI_MODULEID BerthModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x626665e2, 0x04bb, 0x5139, { 0xaa, 0xbd, 0x19, 0x38, 0x4b, 0xd2, 0x00, 0x6b } } }
};

static const NPI_CLIENT_CHARACTERISTICS BerthCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BerthAttachProvider,
    BerthDetachProvider,
    BerthCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BerthNpiId, &BerthModuleId, 0, NULL }
};

static HANDLE BerthClientHandle;
static PKTHREAD BerthThreadObject;
static KEVENT BerthWake; // Synchronization event: there is a binding, or the thread shall end.
static KEVENT BerthFree; // Synchronization event: the place has been given up.
static KSPIN_LOCK BerthLock;
_Guarded_by_(BerthLock) static BOOLEAN BerthTaken;
_Guarded_by_(BerthLock) static PBERTH_BINDING BerthCurrent; // While it is attached and not detaching.
_Guarded_by_(BerthLock) static BOOLEAN BerthStopping;

_Must_inspect_result_
static BOOLEAN
BerthTakePlace(VOID)
{
    BOOLEAN Free;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    Free = !BerthTaken;
    BerthTaken = TRUE;
    KeReleaseSpinLock(&BerthLock, OldIrql);
    return Free;
}

static VOID
BerthGiveUpPlace(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    BerthTaken = FALSE;
    KeReleaseSpinLock(&BerthLock, OldIrql);
    KeSetEvent(&BerthFree, IO_NO_INCREMENT, FALSE);
}

_Must_inspect_result_
static PBERTH_BINDING
BerthBeginUse(_Out_ PBOOLEAN Stopping)
{
    PBERTH_BINDING Binding;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    *Stopping = BerthStopping;
    Binding = BerthCurrent;
    if (Binding != NULL) {
        Binding->UsesInProgress++;
    }
    KeReleaseSpinLock(&BerthLock, OldIrql);
    return Binding;
}

static VOID
BerthEndUse(_In_ PBERTH_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&BerthLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
BerthThread(PVOID StartContext)
{
    PBERTH_BINDING Binding;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&BerthWake, Executive, KernelMode, FALSE, NULL);
        Binding = BerthBeginUse(&Stopping);
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastDrag, (LONG64)KeQueryInterruptTime());
            BerthEndUse(Binding);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BerthAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBERTH_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    // Defect: whoever holds the place may stay until we deregister, which cannot happen while this callback runs.
    while (!BerthTakePlace()) {
        KeWaitForSingleObject(&BerthFree, Executive, KernelMode, FALSE, NULL);
    }

    Binding = (PBERTH_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BERTH_POOL_TAG);
    if (Binding == NULL) {
        BerthGiveUpPlace();
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, BERTH_POOL_TAG);
        BerthGiveUpPlace();
        return Status;
    }

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    BerthCurrent = Binding;
    KeReleaseSpinLock(&BerthLock, OldIrql);

    KeSetEvent(&BerthWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BerthDetachProvider(PVOID ClientBindingContext)
{
    PBERTH_BINDING Binding = (PBERTH_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    BerthCurrent = NULL;
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&BerthLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BerthCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BERTH_POOL_TAG);
    BerthGiveUpPlace();
}

_Must_inspect_result_
static NTSTATUS
BerthStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, BerthThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&BerthThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
BerthStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&BerthLock, &OldIrql);
    BerthStopping = TRUE;
    KeReleaseSpinLock(&BerthLock, OldIrql);
    KeSetEvent(&BerthWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(BerthThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(BerthThreadObject);
}

_Use_decl_annotations_
static VOID
BerthUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BerthClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BerthClientHandle);
    }

    BerthStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BerthUnload;

    KeInitializeEvent(&BerthWake, SynchronizationEvent, FALSE);
    KeInitializeEvent(&BerthFree, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&BerthLock);

    Status = BerthStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&BerthCharacteristics, NULL, &BerthClientHandle);
    if (!NT_SUCCESS(Status)) {
        BerthStopThread();
    }

    return Status;
}
