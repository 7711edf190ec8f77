// nmrfuzz: module
// summary: Client for one provider at a time; it takes its place under a lock and declines others while it is taken.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The place is taken before the provider is asked and given up when the attach fails or the binding is cleaned up, so
// two providers that arrive together cannot both find it free.

#include <ntddk.h>
#include <netioddk.h>

#define ANCHOR_POOL_TAG 'hcnA'

typedef struct _ANCHOR_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    BOOLEAN Detaching;
    LONG64 LastDrag;
} ANCHOR_BINDING, *PANCHOR_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AnchorUnload;
static KSTART_ROUTINE AnchorThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN AnchorAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AnchorDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AnchorCleanupBindingContext;

static const NPIID AnchorNpiId = { 0x7f95fdfb, 0x7e5b, 0x524b, { 0xa4, 0x2d, 0xd6, 0x35, 0xe8, 0xf5, 0x9e, 0x90 } };
static const NPI_MODULEID AnchorModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x93d7afcc, 0x82b3, 0x578d, { 0x81, 0x4a, 0x97, 0xbf, 0x0e, 0x25, 0xd0, 0x7a } } }
};

static const NPI_CLIENT_CHARACTERISTICS AnchorCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AnchorAttachProvider,
    AnchorDetachProvider,
    AnchorCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AnchorNpiId, &AnchorModuleId, 0, NULL }
};

static HANDLE AnchorClientHandle;
static PKTHREAD AnchorThreadObject;
static KEVENT AnchorWake; // Synchronization event: there is a binding, or the thread shall end.
static KSPIN_LOCK AnchorLock;
_Guarded_by_(AnchorLock) static BOOLEAN AnchorTaken;
_Guarded_by_(AnchorLock) static PANCHOR_BINDING AnchorCurrent; // While it is attached and not detaching.
_Guarded_by_(AnchorLock) static BOOLEAN AnchorStopping;

_Must_inspect_result_
static BOOLEAN
AnchorTakePlace(VOID)
{
    BOOLEAN Free;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    Free = !AnchorTaken;
    AnchorTaken = TRUE;
    KeReleaseSpinLock(&AnchorLock, OldIrql);
    return Free;
}

static VOID
AnchorGiveUpPlace(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    AnchorTaken = FALSE;
    KeReleaseSpinLock(&AnchorLock, OldIrql);
}

_Must_inspect_result_
static PANCHOR_BINDING
AnchorBeginUse(_Out_ PBOOLEAN Stopping)
{
    PANCHOR_BINDING Binding;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    *Stopping = AnchorStopping;
    Binding = AnchorCurrent;
    if (Binding != NULL) {
        Binding->UsesInProgress++;
    }
    KeReleaseSpinLock(&AnchorLock, OldIrql);
    return Binding;
}

static VOID
AnchorEndUse(_In_ PANCHOR_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&AnchorLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
AnchorThread(PVOID StartContext)
{
    PANCHOR_BINDING Binding;
    BOOLEAN Stopping;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&AnchorWake, Executive, KernelMode, FALSE, NULL);
        Binding = AnchorBeginUse(&Stopping);
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastDrag, (LONG64)KeQueryInterruptTime());
            AnchorEndUse(Binding);
        }
    } while (!Stopping);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AnchorAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PANCHOR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (!AnchorTakePlace()) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PANCHOR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ANCHOR_POOL_TAG);
    if (Binding == NULL) {
        AnchorGiveUpPlace();
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ANCHOR_POOL_TAG);
        AnchorGiveUpPlace();
        return Status;
    }

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    AnchorCurrent = Binding;
    KeReleaseSpinLock(&AnchorLock, OldIrql);

    KeSetEvent(&AnchorWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AnchorDetachProvider(PVOID ClientBindingContext)
{
    PANCHOR_BINDING Binding = (PANCHOR_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    AnchorCurrent = NULL;
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&AnchorLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AnchorCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ANCHOR_POOL_TAG);
    AnchorGiveUpPlace();
}

_Must_inspect_result_
static NTSTATUS
AnchorStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, AnchorThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&AnchorThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
AnchorStopThread(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnchorLock, &OldIrql);
    AnchorStopping = TRUE;
    KeReleaseSpinLock(&AnchorLock, OldIrql);
    KeSetEvent(&AnchorWake, IO_NO_INCREMENT, FALSE);

    KeWaitForSingleObject(AnchorThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(AnchorThreadObject);
}

_Use_decl_annotations_
static VOID
AnchorUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(AnchorClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AnchorClientHandle);
    }

    AnchorStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AnchorUnload;

    KeInitializeEvent(&AnchorWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&AnchorLock);

    Status = AnchorStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&AnchorCharacteristics, NULL, &AnchorClientHandle);
    if (!NT_SUCCESS(Status)) {
        AnchorStopThread();
    }

    return Status;
}
