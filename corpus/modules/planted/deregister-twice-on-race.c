// nmrfuzz: module
// summary: Provider whose deactivation work item and Unload can both deregister the same registration.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R98
// needs: last client leaves by itself, then unload while the work item is between check and claim
// interleaving: yes
// hardness: 93 schedules; 196 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GRANT_POOL_TAG 'narG'

typedef struct _GRANT_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} GRANT_CLIENT, *PGRANT_CLIENT;

typedef struct _GRANT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GRANT_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GrantUnload;
static IO_WORKITEM_ROUTINE GrantDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN GrantAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GrantDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GrantCleanupBindingContext;

static const NPIID GrantNpiId = { 0xa9a67616, 0x25d4, 0x5d1d, { 0xb9, 0xd3, 0x12, 0xac, 0xdb, 0xa7, 0x32, 0x0d } };
static const NPI_MODULEID GrantModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x58e3c9d3, 0xe7e8, 0x5d76, { 0x81, 0xae, 0x8b, 0x33, 0x3c, 0x31, 0x47, 0x0f } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GrantCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GrantAttachClient,
    GrantDetachClient,
    GrantCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GrantNpiId, &GrantModuleId, 0, NULL }
};

static PDEVICE_OBJECT GrantDevice;
static PIO_WORKITEM GrantWorkItem;
static EX_RUNDOWN_REF GrantWorkRundown; // Held while the work item is queued or running.
static KEVENT GrantRegistered;          // GrantProviderHandle has been stored.
static HANDLE GrantProviderHandle;
static KSPIN_LOCK GrantLock;
_Guarded_by_(GrantLock) static ULONG GrantClients;
_Guarded_by_(GrantLock) static BOOLEAN GrantActive;
_Guarded_by_(GrantLock) static BOOLEAN GrantWorkQueued; // Once in the driver's life.

static ULONG NTAPI
GrantVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GRANT_PROVIDER_DISPATCH GrantDispatch = { GrantVersion };

_Must_inspect_result_
static BOOLEAN
GrantIsActive(VOID)
{
    BOOLEAN Active;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrantLock, &OldIrql);
    Active = GrantActive;
    KeReleaseSpinLock(&GrantLock, OldIrql);
    return Active;
}

// Clears GrantActive and tells whether it was set.
_Must_inspect_result_
static BOOLEAN
GrantClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GrantLock, &OldIrql);
    Claimed = GrantActive;
    GrantActive = FALSE;
    KeReleaseSpinLock(&GrantLock, OldIrql);
    return Claimed;
}

static VOID
GrantDeactivate(VOID)
{
    if (NmrDeregisterProvider(GrantProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GrantProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
GrantDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&GrantRegistered, Executive, KernelMode, FALSE, NULL);

    // Defect: asked and claimed in two steps, so Unload may find the flag still set and deregister as well.
    if (GrantIsActive()) {
        GrantDeactivate();
        (VOID)GrantClaim();
    }

    ExReleaseRundownProtection(&GrantWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrantAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGRANT_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PGRANT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GRANT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&GrantLock, &OldIrql);
    GrantClients++;
    KeReleaseSpinLock(&GrantLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GrantDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrantDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GrantCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, GRANT_POOL_TAG);

    // During unload GrantActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&GrantLock, &OldIrql);
    GrantClients--;
    Queue = GrantClients == 0 && GrantActive && !GrantWorkQueued &&
            ExAcquireRundownProtection(&GrantWorkRundown);
    if (Queue) {
        GrantWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&GrantLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(GrantWorkItem, GrantDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes GrantInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
GrantFreeResources(VOID)
{
    IoFreeWorkItem(GrantWorkItem);
    IoDeleteDevice(GrantDevice);
}

_Use_decl_annotations_
static VOID
GrantUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (GrantClaim()) {
        GrantDeactivate();
    }

    // If the work item has the claim, it is through with the deregistration when this returns.
    ExWaitForRundownProtectionRelease(&GrantWorkRundown);
    GrantFreeResources();
}

_Must_inspect_result_
static NTSTATUS
GrantInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&GrantLock);
    KeInitializeEvent(&GrantRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&GrantWorkRundown);
    GrantActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &GrantDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    GrantWorkItem = IoAllocateWorkItem(GrantDevice);
    if (GrantWorkItem == NULL) {
        IoDeleteDevice(GrantDevice);
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

    DriverObject->DriverUnload = GrantUnload;

    Status = GrantInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GrantCharacteristics, NULL, &GrantProviderHandle);
    if (!NT_SUCCESS(Status)) {
        GrantFreeResources();
        return Status;
    }

    KeSetEvent(&GrantRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
