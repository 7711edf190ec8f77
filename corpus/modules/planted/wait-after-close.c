// nmrfuzz: module
// summary: Provider whose Unload waits for the deregistration once more after its deactivation has waited for it.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R102
// needs: last client leaves by itself and its deactivation ends before unload
// interleaving: no
// hardness: 24 schedules; 9 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ANNUITY_POOL_TAG 'unnA'

typedef struct _ANNUITY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} ANNUITY_CLIENT, *PANNUITY_CLIENT;

typedef struct _ANNUITY_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} ANNUITY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AnnuityUnload;
static IO_WORKITEM_ROUTINE AnnuityDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN AnnuityAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN AnnuityDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN AnnuityCleanupBindingContext;

static const NPIID AnnuityNpiId = { 0xe829f5ec, 0xd612, 0x5984, { 0xb6, 0xc5, 0xfc, 0x0c, 0x24, 0x0c, 0xac, 0xa9 } };
static const NPI_MODULEID AnnuityModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x21981b52, 0xfa9f, 0x54f7, { 0x84, 0x3e, 0x17, 0xe9, 0x85, 0x1d, 0xe8, 0x4f } } }
};

static const NPI_PROVIDER_CHARACTERISTICS AnnuityCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    AnnuityAttachClient,
    AnnuityDetachClient,
    AnnuityCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AnnuityNpiId, &AnnuityModuleId, 0, NULL }
};

static PDEVICE_OBJECT AnnuityDevice;
static PIO_WORKITEM AnnuityWorkItem;
static EX_RUNDOWN_REF AnnuityWorkRundown; // Held while the work item is queued or running.
static KEVENT AnnuityRegistered;          // AnnuityProviderHandle has been stored.
static HANDLE AnnuityProviderHandle;
static KSPIN_LOCK AnnuityLock;
_Guarded_by_(AnnuityLock) static ULONG AnnuityClients;
_Guarded_by_(AnnuityLock) static BOOLEAN AnnuityActive;
_Guarded_by_(AnnuityLock) static BOOLEAN AnnuityWorkQueued; // Once in the driver's life.

static ULONG NTAPI
AnnuityVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const ANNUITY_PROVIDER_DISPATCH AnnuityDispatch = { AnnuityVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
AnnuityClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AnnuityLock, &OldIrql);
    Claimed = AnnuityActive;
    AnnuityActive = FALSE;
    KeReleaseSpinLock(&AnnuityLock, OldIrql);
    return Claimed;
}

static VOID
AnnuityDeactivate(VOID)
{
    if (NmrDeregisterProvider(AnnuityProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(AnnuityProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
AnnuityDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&AnnuityRegistered, Executive, KernelMode, FALSE, NULL);

    if (AnnuityClaim()) {
        AnnuityDeactivate();
    }

    ExReleaseRundownProtection(&AnnuityWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AnnuityAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PANNUITY_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PANNUITY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), ANNUITY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&AnnuityLock, &OldIrql);
    AnnuityClients++;
    KeReleaseSpinLock(&AnnuityLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &AnnuityDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AnnuityDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AnnuityCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, ANNUITY_POOL_TAG);

    // During unload AnnuityActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&AnnuityLock, &OldIrql);
    AnnuityClients--;
    Queue = AnnuityClients == 0 && AnnuityActive && !AnnuityWorkQueued &&
            ExAcquireRundownProtection(&AnnuityWorkRundown);
    if (Queue) {
        AnnuityWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&AnnuityLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(AnnuityWorkItem, AnnuityDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes AnnuityInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
AnnuityFreeResources(VOID)
{
    IoFreeWorkItem(AnnuityWorkItem);
    IoDeleteDevice(AnnuityDevice);
}

_Use_decl_annotations_
static VOID
AnnuityUnload(PDRIVER_OBJECT DriverObject)
{
    BOOLEAN Claimed = AnnuityClaim();

    if (Claimed) {
        AnnuityDeactivate();
    }

    // Defect: if the work item has the claim, it is through with the deregistration, and the handle is no more.
    ExWaitForRundownProtectionRelease(&AnnuityWorkRundown);
    if (!Claimed) {
        NmrWaitForProviderDeregisterComplete(AnnuityProviderHandle);
    }
    AnnuityFreeResources();
}

_Must_inspect_result_
static NTSTATUS
AnnuityInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&AnnuityLock);
    KeInitializeEvent(&AnnuityRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&AnnuityWorkRundown);
    AnnuityActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &AnnuityDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    AnnuityWorkItem = IoAllocateWorkItem(AnnuityDevice);
    if (AnnuityWorkItem == NULL) {
        IoDeleteDevice(AnnuityDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AnnuityUnload;

    Status = AnnuityInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&AnnuityCharacteristics, NULL, &AnnuityProviderHandle);
    if (!NT_SUCCESS(Status)) {
        AnnuityFreeResources();
        return Status;
    }

    KeSetEvent(&AnnuityRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
