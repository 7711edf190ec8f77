// nmrfuzz: module
// summary: Provider whose detach goes from the callback through two work items; each writes before it queues the next.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Only one context at a time has the client: whoever queues the next item gives it away. The queueing orders
// everything that was written before, so nothing else does.

#include <ntddk.h>
#include <netioddk.h>

#define SANDERLING_POOL_TAG 'dnaS'

typedef struct _SANDERLING_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SANDERLING_PROVIDER_DISPATCH;

typedef struct _SANDERLING_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DrainWorkItem;
    PIO_WORKITEM SettleWorkItem;
    BOOLEAN DetachPending;
    ULONG Drained;
    ULONG Settled;
} SANDERLING_CLIENT, *PSANDERLING_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SanderlingUnload;
static IO_WORKITEM_ROUTINE SanderlingDrainWorker;
static IO_WORKITEM_ROUTINE SanderlingSettleWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN SanderlingAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SanderlingDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SanderlingCleanupBindingContext;

static const NPIID SanderlingNpiId = { 0x2dce8d17, 0x5bcd, 0x5df0, { 0xa9, 0x24, 0x29, 0x83, 0x4f, 0x91, 0xec, 0x97 } };
static const NPI_MODULEID SanderlingModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xee151673, 0x1132, 0x5492, { 0x88, 0x74, 0xb2, 0xf2, 0xad, 0xc2, 0x4f, 0x3c } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SanderlingCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SanderlingAttachClient,
    SanderlingDetachClient,
    SanderlingCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SanderlingNpiId, &SanderlingModuleId, 0, NULL }
};

static PDEVICE_OBJECT SanderlingDevice;
static HANDLE SanderlingProviderHandle;

static ULONG NTAPI
SanderlingVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SANDERLING_PROVIDER_DISPATCH SanderlingDispatch = { SanderlingVersion };

_Use_decl_annotations_
static VOID
SanderlingSettleWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PSANDERLING_CLIENT Client = (PSANDERLING_CLIENT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    Client->Settled = Client->Drained;
    NmrProviderDetachClientComplete(Client->BindingHandle);
}

_Use_decl_annotations_
static VOID
SanderlingDrainWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PSANDERLING_CLIENT Client = (PSANDERLING_CLIENT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    Client->Drained++;
    if (Client->DetachPending) {
        IoQueueWorkItem(Client->SettleWorkItem, SanderlingSettleWorker, DelayedWorkQueue, Client);
    }
}

static VOID
SanderlingFreeClient(_In_ PSANDERLING_CLIENT Client)
{
    if (Client->DrainWorkItem != NULL) {
        IoFreeWorkItem(Client->DrainWorkItem);
    }
    if (Client->SettleWorkItem != NULL) {
        IoFreeWorkItem(Client->SettleWorkItem);
    }
    ExFreePoolWithTag(Client, SANDERLING_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SanderlingAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSANDERLING_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSANDERLING_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SANDERLING_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->DrainWorkItem = IoAllocateWorkItem(SanderlingDevice);
    Client->SettleWorkItem = IoAllocateWorkItem(SanderlingDevice);
    if (Client->DrainWorkItem == NULL || Client->SettleWorkItem == NULL) {
        SanderlingFreeClient(Client);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SanderlingDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SanderlingDetachClient(PVOID ProviderBindingContext)
{
    PSANDERLING_CLIENT Client = (PSANDERLING_CLIENT)ProviderBindingContext;

    Client->DetachPending = TRUE;
    IoQueueWorkItem(Client->DrainWorkItem, SanderlingDrainWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
SanderlingCleanupBindingContext(PVOID ProviderBindingContext)
{
    // Neither item is queued any more: the routine of the second, queued by the first, has brought us here.
    SanderlingFreeClient((PSANDERLING_CLIENT)ProviderBindingContext);
}

_Use_decl_annotations_
static VOID
SanderlingUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SanderlingProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SanderlingProviderHandle);
    }

    IoDeleteDevice(SanderlingDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SanderlingUnload;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &SanderlingDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SanderlingCharacteristics, NULL, &SanderlingProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(SanderlingDevice);
    }

    return Status;
}
