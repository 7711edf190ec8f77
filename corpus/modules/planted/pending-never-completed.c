// nmrfuzz: module
// summary: Provider that allocates the work item in its detach callback and pends even when it got none.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R68
// needs: allocation of the work item fails in the detach callback
// interleaving: no
// hardness: 59 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PARCEL_POOL_TAG 'craP'

typedef struct _PARCEL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} PARCEL_CLIENT, *PPARCEL_CLIENT;

typedef struct _PARCEL_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} PARCEL_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ParcelUnload;
static IO_WORKITEM_ROUTINE ParcelDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN ParcelAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ParcelDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ParcelCleanupBindingContext;

static const NPIID ParcelNpiId = { 0x6693ebc9, 0xd5ca, 0x5815, { 0xbd, 0x02, 0x95, 0x9c, 0xf2, 0x0a, 0x53, 0x66 } };
static const NPI_MODULEID ParcelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5cd99039, 0x4a24, 0x544f, { 0x9d, 0xa3, 0xe7, 0xa2, 0x46, 0x48, 0x5b, 0x9d } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ParcelCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ParcelAttachClient,
    ParcelDetachClient,
    ParcelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ParcelNpiId, &ParcelModuleId, 0, NULL }
};

static PDEVICE_OBJECT ParcelDevice;
static HANDLE ParcelProviderHandle;
static LONG64 ParcelSettledUnits;

static VOID NTAPI
ParcelCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PPARCEL_CLIENT Client = (PPARCEL_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const PARCEL_PROVIDER_DISPATCH ParcelDispatch = { ParcelCharge };

_Use_decl_annotations_
static VOID
ParcelDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PPARCEL_CLIENT Client = (PPARCEL_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&ParcelSettledUnits, InterlockedExchange64(&Client->Units, 0));

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ParcelAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPARCEL_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPARCEL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PARCEL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ParcelDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ParcelDetachClient(PVOID ProviderBindingContext)
{
    PPARCEL_CLIENT Client = (PPARCEL_CLIENT)ProviderBindingContext;

    // Defect: without a work item nobody is left to complete the detach. Nothing is in progress, so it could just
    // succeed.
    Client->DetachWorkItem = IoAllocateWorkItem(ParcelDevice);
    if (Client->DetachWorkItem != NULL) {
        IoQueueWorkItem(Client->DetachWorkItem, ParcelDetachWorker, DelayedWorkQueue, Client);
    }
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
ParcelCleanupBindingContext(PVOID ProviderBindingContext)
{
    PPARCEL_CLIENT Client = (PPARCEL_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, PARCEL_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ParcelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(ParcelProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ParcelProviderHandle);
    }

    IoDeleteDevice(ParcelDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ParcelUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &ParcelDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&ParcelCharacteristics, NULL, &ParcelProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(ParcelDevice);
    }

    return Status;
}
