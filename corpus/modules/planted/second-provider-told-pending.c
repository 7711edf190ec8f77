// nmrfuzz: module
// summary: Client for one provider at a time that answers a second one with STATUS_PENDING instead of declining it.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R38
// needs: two providers at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

// The place is taken before the provider is asked and given up when the attach fails or the binding is cleaned up, so
// two providers that arrive together cannot both find it free.

#include <ntddk.h>
#include <netioddk.h>

#define GRAPNEL_POOL_TAG 'parG'

typedef struct _GRAPNEL_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN Detaching;
    LONG64 LastDrag;
} GRAPNEL_BINDING, *PGRAPNEL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GrapnelUnload;
static KSTART_ROUTINE GrapnelThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN GrapnelAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GrapnelDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GrapnelCleanupBindingContext;

static const NPIID GrapnelNpiId = { 0xaf44633b, 0x412c, 0x580a, { 0x8f, 0x84, 0x7d, 0xff, 0xd0, 0x28, 0xb9, 0xc8 } };
static const NPI_MODULEID GrapnelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd0d3f47e, 0xa310, 0x5263, { 0xac, 0x50, 0xd7, 0x02, 0x90, 0x95, 0x4a, 0xca } } }
};

static const NPI_CLIENT_CHARACTERISTICS GrapnelCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GrapnelAttachProvider,
    GrapnelDetachProvider,
    GrapnelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GrapnelNpiId, &GrapnelModuleId, 0, NULL }
};

static HANDLE GrapnelClientHandle;
static PKTHREAD GrapnelThreadObject;
static KEVENT GrapnelWake; // Synchronization event: there is a binding, or the thread shall end.
static KSPIN_LOCK GrapnelLock;
_Guarded_by_(GrapnelLock) static BOOLEAN GrapnelTaken;
_Guarded_by_(GrapnelLock) static PGRAPNEL_BINDING GrapnelCurrent; // While it is attached and not detaching.
_Guarded_by_(GrapnelLock) static BOOLEAN GrapnelStopping;

_Must_inspect_result_
static BOOLEAN
GrapnelTakePlace(VOID)
{
    BOOLEAN Free;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    Free = !GrapnelTaken;
    GrapnelTaken = TRUE;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);
    return Free;
}

static VOID
GrapnelGiveUpPlace(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    GrapnelTaken = FALSE;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);
}

_Must_inspect_result_
static PGRAPNEL_BINDING
GrapnelBeginUse(_Out_ PBOOLEAN Stopping)
{
    PGRAPNEL_BINDING Binding;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    *Stopping = GrapnelStopping;
    Binding = GrapnelCurrent;
    if (Binding != NULL) {
        Binding->UsesInProgress++;
    }
    KeReleaseSpinLock(&GrapnelLock, OldIrql);
    return Binding;
}

static VOID
GrapnelEndUse(_In_ PGRAPNEL_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
GrapnelThread(PVOID StartContext)
{
    PGRAPNEL_BINDING Binding;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&GrapnelWake, Executive, KernelMode, FALSE, NULL);
        Binding = GrapnelBeginUse(&Stopping);
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastDrag, (LONG64)KeQueryInterruptTime());
            GrapnelEndUse(Binding);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrapnelAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGRAPNEL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (!GrapnelTakePlace()) {
        // Defect: a success code, but nobody will ever come back to this provider.
        return STATUS_PENDING;
    }

    Binding = (PGRAPNEL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GRAPNEL_POOL_TAG);
    if (Binding == NULL) {
        GrapnelGiveUpPlace();
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GRAPNEL_POOL_TAG);
        GrapnelGiveUpPlace();
        return Status;
    }

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    GrapnelCurrent = Binding;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);

    KeSetEvent(&GrapnelWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrapnelDetachProvider(PVOID ClientBindingContext)
{
    PGRAPNEL_BINDING Binding = (PGRAPNEL_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    GrapnelCurrent = NULL;
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GrapnelCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, GRAPNEL_POOL_TAG);
    GrapnelGiveUpPlace();
}

_Must_inspect_result_
static NTSTATUS
GrapnelStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GrapnelThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GrapnelThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
GrapnelStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrapnelLock, &OldIrql);
    GrapnelStopping = TRUE;
    KeReleaseSpinLock(&GrapnelLock, OldIrql);
    KeSetEvent(&GrapnelWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(GrapnelThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(GrapnelThreadObject);
}

_Use_decl_annotations_
static VOID
GrapnelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(GrapnelClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GrapnelClientHandle);
    }

    GrapnelStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GrapnelUnload;

    KeInitializeEvent(&GrapnelWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&GrapnelLock);

    Status = GrapnelStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&GrapnelCharacteristics, NULL, &GrapnelClientHandle);
    if (!NT_SUCCESS(Status)) {
        GrapnelStopThread();
    }

    return Status;
}
