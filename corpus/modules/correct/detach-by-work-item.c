// nmrfuzz: module
// summary: Provider whose detach always pends and is completed from an I/O work item allocated at attach.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// A detach callback may arrive at DISPATCH_LEVEL, but settling a client's account is passive work. The work item is an
// I/O work item because that holds the device object, and with it the image, until the routine has returned.

#include <ntddk.h>
#include <netioddk.h>

#define METER_POOL_TAG 'rteM'

typedef struct _METER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} METER_CLIENT, *PMETER_CLIENT;

typedef struct _METER_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} METER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MeterUnload;
static IO_WORKITEM_ROUTINE MeterDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN MeterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN MeterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN MeterCleanupBindingContext;

static const NPIID MeterNpiId = { 0xf7f57d3b, 0x5030, 0x52e3, { 0x9b, 0xab, 0xe2, 0x0a, 0xe9, 0x95, 0xab, 0xa8 } };
static const NPI_MODULEID MeterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x88ac3f54, 0xd703, 0x515f, { 0x91, 0xb0, 0xa1, 0x03, 0xef, 0x96, 0xba, 0x72 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS MeterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    MeterAttachClient,
    MeterDetachClient,
    MeterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MeterNpiId, &MeterModuleId, 0, NULL }
};

static PDEVICE_OBJECT MeterDevice;
static HANDLE MeterProviderHandle;
static LONG64 MeterSettledUnits;

static VOID NTAPI
MeterCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PMETER_CLIENT Client = (PMETER_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const METER_PROVIDER_DISPATCH MeterDispatch = { MeterCharge };

_Use_decl_annotations_
static VOID
MeterDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PMETER_CLIENT Client = (PMETER_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&MeterSettledUnits, InterlockedExchange64(&Client->Units, 0));

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MeterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PMETER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PMETER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), METER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(MeterDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, METER_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &MeterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MeterDetachClient(PVOID ProviderBindingContext)
{
    PMETER_CLIENT Client = (PMETER_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, MeterDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
MeterCleanupBindingContext(PVOID ProviderBindingContext)
{
    PMETER_CLIENT Client = (PMETER_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, METER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
MeterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(MeterProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(MeterProviderHandle);
    }

    IoDeleteDevice(MeterDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MeterUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &MeterDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&MeterCharacteristics, NULL, &MeterProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(MeterDevice);
    }

    return Status;
}
