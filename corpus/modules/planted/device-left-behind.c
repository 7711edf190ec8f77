// nmrfuzz: module
// summary: Provider with a control device and a symbolic link whose DriverEntry, when the registration fails, removes the link only.
// provides: 1
// consumes: 0
// expect: resource-leak
// rule: R26
// needs: registration fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PORTAL_POOL_TAG 'troP'

typedef struct _PORTAL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} PORTAL_CLIENT, *PPORTAL_CLIENT;

typedef struct _PORTAL_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} PORTAL_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PortalUnload;
static IO_WORKITEM_ROUTINE PortalDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN PortalAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PortalDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PortalCleanupBindingContext;

static const NPIID PortalNpiId = { 0x95b5d216, 0x4dda, 0x51ec, { 0x91, 0x6a, 0x29, 0x67, 0xfe, 0x1a, 0xa3, 0x46 } };
static const NPI_MODULEID PortalModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x83c4faf4, 0xbddc, 0x58e7, { 0xa8, 0x52, 0xf6, 0x2d, 0xf9, 0x8c, 0xb2, 0x1e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PortalCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PortalAttachClient,
    PortalDetachClient,
    PortalCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PortalNpiId, &PortalModuleId, 0, NULL }
};

static PDEVICE_OBJECT PortalDevice;
static UNICODE_STRING PortalDeviceName = RTL_CONSTANT_STRING(L"\\Device\\NmrPortal");
static UNICODE_STRING PortalLinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\NmrPortal");
static HANDLE PortalProviderHandle;
static LONG64 PortalSettledUnits;

static VOID NTAPI
PortalCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PPORTAL_CLIENT Client = (PPORTAL_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const PORTAL_PROVIDER_DISPATCH PortalDispatch = { PortalCharge };

_Use_decl_annotations_
static VOID
PortalDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PPORTAL_CLIENT Client = (PPORTAL_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&PortalSettledUnits, InterlockedExchange64(&Client->Units, 0));

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PortalAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPORTAL_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPORTAL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PORTAL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(PortalDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, PORTAL_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PortalDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PortalDetachClient(PVOID ProviderBindingContext)
{
    PPORTAL_CLIENT Client = (PPORTAL_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, PortalDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PortalCleanupBindingContext(PVOID ProviderBindingContext)
{
    PPORTAL_CLIENT Client = (PPORTAL_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, PORTAL_POOL_TAG);
}

_Use_decl_annotations_
static VOID
PortalUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PortalProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PortalProviderHandle);
    }

    IoDeleteSymbolicLink(&PortalLinkName);
    IoDeleteDevice(PortalDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PortalUnload;

    Status = IoCreateDevice(
        DriverObject, 0, &PortalDeviceName, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &PortalDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = IoCreateSymbolicLink(&PortalLinkName, &PortalDeviceName);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(PortalDevice);
        return Status;
    }

    Status = NmrRegisterProvider(&PortalCharacteristics, NULL, &PortalProviderHandle);
    if (!NT_SUCCESS(Status)) {
        // Defect: the link goes, the device stays.
        IoDeleteSymbolicLink(&PortalLinkName);
    }

    return Status;
}
