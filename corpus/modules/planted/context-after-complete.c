// nmrfuzz: module
// summary: Provider whose work routine frees its work item through the binding context after it has completed the detach.
// provides: 1
// consumes: 0
// expect: use-after-free
// rule: R75
// needs: the client is through with its detach before, so that the completion runs the cleanup
// interleaving: no
// hardness: 1 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BILLING_POOL_TAG 'lliB'

typedef struct _BILLING_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} BILLING_CLIENT, *PBILLING_CLIENT;

typedef struct _BILLING_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} BILLING_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BillingUnload;
static IO_WORKITEM_ROUTINE BillingDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN BillingAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BillingDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BillingCleanupBindingContext;

static const NPIID BillingNpiId = { 0x41470d37, 0x0325, 0x50ce, { 0x93, 0x42, 0xd3, 0x1a, 0x6a, 0xa6, 0x14, 0x1f } };
static const NPI_MODULEID BillingModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9c9cf1e5, 0xc62a, 0x519b, { 0xb7, 0x07, 0x2c, 0xd4, 0xfe, 0xd4, 0x69, 0xd3 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BillingCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BillingAttachClient,
    BillingDetachClient,
    BillingCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BillingNpiId, &BillingModuleId, 0, NULL }
};

static PDEVICE_OBJECT BillingDevice;
static HANDLE BillingProviderHandle;
static LONG64 BillingSettledUnits;

static VOID NTAPI
BillingCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PBILLING_CLIENT Client = (PBILLING_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const BILLING_PROVIDER_DISPATCH BillingDispatch = { BillingCharge };

_Use_decl_annotations_
static VOID
BillingDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PBILLING_CLIENT Client = (PBILLING_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&BillingSettledUnits, InterlockedExchange64(&Client->Units, 0));

    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);

    // Defect: the cleanup callback may have freed the client by now.
    IoFreeWorkItem(Client->DetachWorkItem);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BillingAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBILLING_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PBILLING_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), BILLING_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(BillingDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, BILLING_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &BillingDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BillingDetachClient(PVOID ProviderBindingContext)
{
    PBILLING_CLIENT Client = (PBILLING_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, BillingDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
BillingCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, BILLING_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BillingUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(BillingProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BillingProviderHandle);
    }

    IoDeleteDevice(BillingDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BillingUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &BillingDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&BillingCharacteristics, NULL, &BillingProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(BillingDevice);
    }

    return Status;
}
