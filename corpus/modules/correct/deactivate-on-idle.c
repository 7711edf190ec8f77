// nmrfuzz: module
// summary: Provider that deactivates itself from a work item when its last client has left; Unload and deactivation share one claim.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Deregistration belongs to whoever finds LeaseActive set and clears it, in one step under the lock. Unload then also
// waits until a deactivation that won has come to its end.

#include <ntddk.h>
#include <netioddk.h>

#define LEASE_POOL_TAG 'saeL'

typedef struct _LEASE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} LEASE_CLIENT, *PLEASE_CLIENT;

typedef struct _LEASE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} LEASE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LeaseUnload;
static IO_WORKITEM_ROUTINE LeaseDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN LeaseAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LeaseDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN LeaseCleanupBindingContext;

static const NPIID LeaseNpiId = { 0x7b6b8dbb, 0xa683, 0x52a0, { 0xb7, 0xd4, 0xc1, 0x39, 0x69, 0x24, 0x0a, 0x3e } };
static const NPI_MODULEID LeaseModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1a102158, 0xe0d1, 0x5d02, { 0xa8, 0x8a, 0x56, 0x4c, 0x2c, 0xd0, 0xc4, 0x03 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LeaseCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LeaseAttachClient,
    LeaseDetachClient,
    LeaseCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LeaseNpiId, &LeaseModuleId, 0, NULL }
};

static PDEVICE_OBJECT LeaseDevice;
static PIO_WORKITEM LeaseWorkItem;
static EX_RUNDOWN_REF LeaseWorkRundown; // Held while the work item is queued or running.
static KEVENT LeaseRegistered;          // LeaseProviderHandle has been stored.
static HANDLE LeaseProviderHandle;
static KSPIN_LOCK LeaseLock;
_Guarded_by_(LeaseLock) static ULONG LeaseClients;
_Guarded_by_(LeaseLock) static BOOLEAN LeaseActive;
_Guarded_by_(LeaseLock) static BOOLEAN LeaseWorkQueued; // Once in the driver's life.

static ULONG NTAPI
LeaseVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const LEASE_PROVIDER_DISPATCH LeaseDispatch = { LeaseVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
LeaseClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LeaseLock, &OldIrql);
    Claimed = LeaseActive;
    LeaseActive = FALSE;
    KeReleaseSpinLock(&LeaseLock, OldIrql);
    return Claimed;
}

static VOID
LeaseDeactivate(VOID)
{
    if (NmrDeregisterProvider(LeaseProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LeaseProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
LeaseDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&LeaseRegistered, Executive, KernelMode, FALSE, NULL);

    if (LeaseClaim()) {
        LeaseDeactivate();
    }

    ExReleaseRundownProtection(&LeaseWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LeaseAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLEASE_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PLEASE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), LEASE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&LeaseLock, &OldIrql);
    LeaseClients++;
    KeReleaseSpinLock(&LeaseLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &LeaseDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LeaseDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LeaseCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, LEASE_POOL_TAG);

    // During unload LeaseActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&LeaseLock, &OldIrql);
    LeaseClients--;
    Queue = LeaseClients == 0 && LeaseActive && !LeaseWorkQueued &&
            ExAcquireRundownProtection(&LeaseWorkRundown);
    if (Queue) {
        LeaseWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&LeaseLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(LeaseWorkItem, LeaseDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes LeaseInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
LeaseFreeResources(VOID)
{
    IoFreeWorkItem(LeaseWorkItem);
    IoDeleteDevice(LeaseDevice);
}

_Use_decl_annotations_
static VOID
LeaseUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (LeaseClaim()) {
        LeaseDeactivate();
    }

    // If the work item has the claim, it is through with the deregistration when this returns.
    ExWaitForRundownProtectionRelease(&LeaseWorkRundown);
    LeaseFreeResources();
}

_Must_inspect_result_
static NTSTATUS
LeaseInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&LeaseLock);
    KeInitializeEvent(&LeaseRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&LeaseWorkRundown);
    LeaseActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &LeaseDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    LeaseWorkItem = IoAllocateWorkItem(LeaseDevice);
    if (LeaseWorkItem == NULL) {
        IoDeleteDevice(LeaseDevice);
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

    DriverObject->DriverUnload = LeaseUnload;

    Status = LeaseInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&LeaseCharacteristics, NULL, &LeaseProviderHandle);
    if (!NT_SUCCESS(Status)) {
        LeaseFreeResources();
        return Status;
    }

    KeSetEvent(&LeaseRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
