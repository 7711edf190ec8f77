// nmrfuzz: module
// summary: Provider whose deactivation does not wait for its registration handle to be stored.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R23, R27
// needs: last client leaves before NmrRegisterProvider has returned and stored the handle
// interleaving: yes
// hardness: 176 schedules; 1000+ run to completion

// Deregistration belongs to whoever finds SubletActive set and clears it, in one step under the lock. Unload then also
// waits until a deactivation that won has come to its end.

#include <ntddk.h>
#include <netioddk.h>

#define SUBLET_POOL_TAG 'lbuS'

typedef struct _SUBLET_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SUBLET_CLIENT, *PSUBLET_CLIENT;

typedef struct _SUBLET_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SUBLET_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SubletUnload;
static IO_WORKITEM_ROUTINE SubletDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN SubletAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SubletDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SubletCleanupBindingContext;

static const NPIID SubletNpiId = { 0xb5f25f74, 0x6ab7, 0x5af6, { 0xa1, 0x7b, 0x4b, 0x1b, 0x36, 0x75, 0x28, 0x46 } };
static const NPI_MODULEID SubletModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8d4c172d, 0xedd0, 0x5f9b, { 0xb4, 0x00, 0x9b, 0x30, 0x05, 0x36, 0x44, 0xdc } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SubletCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SubletAttachClient,
    SubletDetachClient,
    SubletCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SubletNpiId, &SubletModuleId, 0, NULL }
};

static PDEVICE_OBJECT SubletDevice;
static PIO_WORKITEM SubletWorkItem;
static EX_RUNDOWN_REF SubletWorkRundown; // Held while the work item is queued or running.
static HANDLE SubletProviderHandle;
static KSPIN_LOCK SubletLock;
_Guarded_by_(SubletLock) static ULONG SubletClients;
_Guarded_by_(SubletLock) static BOOLEAN SubletActive;
_Guarded_by_(SubletLock) static BOOLEAN SubletWorkQueued; // Once in the driver's life.

static ULONG NTAPI
SubletVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SUBLET_PROVIDER_DISPATCH SubletDispatch = { SubletVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
SubletClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SubletLock, &OldIrql);
    Claimed = SubletActive;
    SubletActive = FALSE;
    KeReleaseSpinLock(&SubletLock, OldIrql);
    return Claimed;
}

static VOID
SubletDeactivate(VOID)
{
    if (NmrDeregisterProvider(SubletProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SubletProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
SubletDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // Defect: a client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    if (SubletClaim()) {
        SubletDeactivate();
    }

    ExReleaseRundownProtection(&SubletWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SubletAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSUBLET_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSUBLET_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SUBLET_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&SubletLock, &OldIrql);
    SubletClients++;
    KeReleaseSpinLock(&SubletLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SubletDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SubletDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SubletCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, SUBLET_POOL_TAG);

    // During unload SubletActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&SubletLock, &OldIrql);
    SubletClients--;
    Queue = SubletClients == 0 && SubletActive && !SubletWorkQueued &&
            ExAcquireRundownProtection(&SubletWorkRundown);
    if (Queue) {
        SubletWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&SubletLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(SubletWorkItem, SubletDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes SubletInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
SubletFreeResources(VOID)
{
    IoFreeWorkItem(SubletWorkItem);
    IoDeleteDevice(SubletDevice);
}

_Use_decl_annotations_
static VOID
SubletUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (SubletClaim()) {
        SubletDeactivate();
    }

    // If the work item has the claim, it is through with the deregistration when this returns.
    ExWaitForRundownProtectionRelease(&SubletWorkRundown);
    SubletFreeResources();
}

_Must_inspect_result_
static NTSTATUS
SubletInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&SubletLock);
    ExInitializeRundownProtection(&SubletWorkRundown);
    SubletActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &SubletDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    SubletWorkItem = IoAllocateWorkItem(SubletDevice);
    if (SubletWorkItem == NULL) {
        IoDeleteDevice(SubletDevice);
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

    DriverObject->DriverUnload = SubletUnload;

    Status = SubletInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SubletCharacteristics, NULL, &SubletProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SubletFreeResources();
    }

    return Status;
}
