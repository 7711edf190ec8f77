// nmrfuzz: module
// summary: Provider whose detach callback marks the client after it has queued the work item that looks at the mark.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R76, R68
// needs: the work item runs before the detach callback goes on
// interleaving: yes
// hardness: 4 schedules; 1000+ run to completion

// A detach callback may arrive at DISPATCH_LEVEL, but settling a client's account is passive work. The work item is an
// I/O work item because that holds the device object, and with it the image, until the routine has returned.

#include <ntddk.h>
#include <netioddk.h>

#define TARIFF_POOL_TAG 'iraT'

typedef struct _TARIFF_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG Detaching;
    LONG64 Units;
} TARIFF_CLIENT, *PTARIFF_CLIENT;

typedef struct _TARIFF_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} TARIFF_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TariffUnload;
static IO_WORKITEM_ROUTINE TariffDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN TariffAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TariffDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TariffCleanupBindingContext;

static const NPIID TariffNpiId = { 0x9cff52dc, 0xbcdf, 0x51e0, { 0x8d, 0x0a, 0x89, 0x18, 0xa9, 0xae, 0xbe, 0xd1 } };
static const NPI_MODULEID TariffModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xaa047486, 0x8dab, 0x57f6, { 0xa0, 0xc2, 0x45, 0x25, 0x56, 0xa2, 0xbb, 0x37 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TariffCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TariffAttachClient,
    TariffDetachClient,
    TariffCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TariffNpiId, &TariffModuleId, 0, NULL }
};

static PDEVICE_OBJECT TariffDevice;
static HANDLE TariffProviderHandle;
static LONG64 TariffSettledUnits;

static VOID NTAPI
TariffCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PTARIFF_CLIENT Client = (PTARIFF_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const TARIFF_PROVIDER_DISPATCH TariffDispatch = { TariffCharge };

_Use_decl_annotations_
static VOID
TariffDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PTARIFF_CLIENT Client = (PTARIFF_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&TariffSettledUnits, InterlockedExchange64(&Client->Units, 0));
    if (InterlockedCompareExchange(&Client->Detaching, 0, 0) == 0) {
        return;
    }

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TariffAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTARIFF_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTARIFF_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TARIFF_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(TariffDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, TARIFF_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TariffDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TariffDetachClient(PVOID ProviderBindingContext)
{
    PTARIFF_CLIENT Client = (PTARIFF_CLIENT)ProviderBindingContext;

    // Defect: in the wrong order. The work item may have run already, and have found nothing to complete.
    IoQueueWorkItem(Client->DetachWorkItem, TariffDetachWorker, DelayedWorkQueue, Client);
    InterlockedExchange(&Client->Detaching, 1);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
TariffCleanupBindingContext(PVOID ProviderBindingContext)
{
    PTARIFF_CLIENT Client = (PTARIFF_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, TARIFF_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TariffUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(TariffProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TariffProviderHandle);
    }

    IoDeleteDevice(TariffDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TariffUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &TariffDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&TariffCharacteristics, NULL, &TariffProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(TariffDevice);
    }

    return Status;
}
