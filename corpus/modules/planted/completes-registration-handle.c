// nmrfuzz: module
// summary: Provider whose work routine completes the detach with the registration handle.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R72
// needs: nothing but an attached client
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define STAMP_POOL_TAG 'matS'

typedef struct _STAMP_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} STAMP_CLIENT, *PSTAMP_CLIENT;

typedef struct _STAMP_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} STAMP_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD StampUnload;
static IO_WORKITEM_ROUTINE StampDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN StampAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN StampDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN StampCleanupBindingContext;

static const NPIID StampNpiId = { 0xd4290bec, 0x2691, 0x59be, { 0xa4, 0xbd, 0x2e, 0xa0, 0x4e, 0xee, 0x98, 0x10 } };
static const NPI_MODULEID StampModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x82264d0d, 0x707b, 0x574a, { 0xa7, 0xa2, 0xac, 0x83, 0x1e, 0x5f, 0xd0, 0xc1 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS StampCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    StampAttachClient,
    StampDetachClient,
    StampCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &StampNpiId, &StampModuleId, 0, NULL }
};

static PDEVICE_OBJECT StampDevice;
static HANDLE StampProviderHandle;
static LONG64 StampSettledUnits;

static VOID NTAPI
StampCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PSTAMP_CLIENT Client = (PSTAMP_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const STAMP_PROVIDER_DISPATCH StampDispatch = { StampCharge };

_Use_decl_annotations_
static VOID
StampDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PSTAMP_CLIENT Client = (PSTAMP_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&StampSettledUnits, InterlockedExchange64(&Client->Units, 0));

    // Defect: this is the handle of the registration, not of the binding.
    BindingHandle = StampProviderHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StampAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSTAMP_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSTAMP_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), STAMP_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(StampDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, STAMP_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &StampDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StampDetachClient(PVOID ProviderBindingContext)
{
    PSTAMP_CLIENT Client = (PSTAMP_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, StampDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
StampCleanupBindingContext(PVOID ProviderBindingContext)
{
    PSTAMP_CLIENT Client = (PSTAMP_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, STAMP_POOL_TAG);
}

_Use_decl_annotations_
static VOID
StampUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(StampProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(StampProviderHandle);
    }

    IoDeleteDevice(StampDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = StampUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &StampDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&StampCharacteristics, NULL, &StampProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(StampDevice);
    }

    return Status;
}
