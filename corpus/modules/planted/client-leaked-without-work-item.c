// nmrfuzz: module
// summary: Provider that leaves the context of a client behind when it cannot allocate the client's work item.
// provides: 1
// consumes: 0
// expect: memory-leak
// rule: R48
// needs: allocation of the work item fails
// interleaving: no
// hardness: 59 schedules; 1000+ run to completion

// A detach callback may arrive at DISPATCH_LEVEL, but settling a client's account is passive work. The work item is an
// I/O work item because that holds the device object, and with it the image, until the routine has returned.

#include <ntddk.h>
#include <netioddk.h>

#define TURBINE_POOL_TAG 'bruT'

typedef struct _TURBINE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} TURBINE_CLIENT, *PTURBINE_CLIENT;

typedef struct _TURBINE_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} TURBINE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TurbineUnload;
static IO_WORKITEM_ROUTINE TurbineDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN TurbineAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TurbineDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TurbineCleanupBindingContext;

static const NPIID TurbineNpiId = { 0x4bb90aed, 0x5e21, 0x5440, { 0xa6, 0x8b, 0x37, 0x6c, 0xe6, 0x5d, 0xe6, 0x2f } };
static const NPI_MODULEID TurbineModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5de9fb55, 0xef02, 0x5ab0, { 0x91, 0xd0, 0x87, 0x39, 0x1e, 0x65, 0xd8, 0x0e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TurbineCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TurbineAttachClient,
    TurbineDetachClient,
    TurbineCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TurbineNpiId, &TurbineModuleId, 0, NULL }
};

static PDEVICE_OBJECT TurbineDevice;
static HANDLE TurbineProviderHandle;
static LONG64 TurbineSettledUnits;

static VOID NTAPI
TurbineCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PTURBINE_CLIENT Client = (PTURBINE_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const TURBINE_PROVIDER_DISPATCH TurbineDispatch = { TurbineCharge };

_Use_decl_annotations_
static VOID
TurbineDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PTURBINE_CLIENT Client = (PTURBINE_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&TurbineSettledUnits, InterlockedExchange64(&Client->Units, 0));

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurbineAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTURBINE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTURBINE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TURBINE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(TurbineDevice);
    if (Client->DetachWorkItem == NULL) {
        // Defect: a client that is refused has no cleanup callback that would free its context.
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TurbineDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurbineDetachClient(PVOID ProviderBindingContext)
{
    PTURBINE_CLIENT Client = (PTURBINE_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, TurbineDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
TurbineCleanupBindingContext(PVOID ProviderBindingContext)
{
    PTURBINE_CLIENT Client = (PTURBINE_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, TURBINE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TurbineUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(TurbineProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TurbineProviderHandle);
    }

    IoDeleteDevice(TurbineDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TurbineUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &TurbineDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&TurbineCharacteristics, NULL, &TurbineProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(TurbineDevice);
    }

    return Status;
}
