// nmrfuzz: module
// summary: Provider whose detach callback says that it pends after it has queued the work item that reads it.
// provides: 1
// consumes: 0
// expect: deadlock, data-race
// rule: none
// needs: the work item runs before the detach callback has gone on
// interleaving: yes
// hardness: 2 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TURNSTONE_POOL_TAG 'nruT'

typedef struct _TURNSTONE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} TURNSTONE_PROVIDER_DISPATCH;

typedef struct _TURNSTONE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DrainWorkItem;
    PIO_WORKITEM SettleWorkItem;
    BOOLEAN DetachPending;
    ULONG Drained;
    ULONG Settled;
} TURNSTONE_CLIENT, *PTURNSTONE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TurnstoneUnload;
static IO_WORKITEM_ROUTINE TurnstoneDrainWorker;
static IO_WORKITEM_ROUTINE TurnstoneSettleWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN TurnstoneAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TurnstoneDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TurnstoneCleanupBindingContext;

static const NPIID TurnstoneNpiId = { 0xdd010719, 0x2ef6, 0x53e0, { 0xa8, 0xbc, 0xec, 0xb6, 0xd3, 0xb1, 0x8b, 0xb4 } };
static const NPI_MODULEID TurnstoneModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc26027fb, 0x2958, 0x578b, { 0xb4, 0x2c, 0xd6, 0x95, 0x9a, 0x98, 0x2e, 0x83 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TurnstoneCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TurnstoneAttachClient,
    TurnstoneDetachClient,
    TurnstoneCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TurnstoneNpiId, &TurnstoneModuleId, 0, NULL }
};

static PDEVICE_OBJECT TurnstoneDevice;
static HANDLE TurnstoneProviderHandle;
static LONG TurnstoneTraced;

static ULONG NTAPI
TurnstoneVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const TURNSTONE_PROVIDER_DISPATCH TurnstoneDispatch = { TurnstoneVersion };

// The number of the next line in the log.
static VOID
TurnstoneTrace(VOID)
{
    InterlockedIncrement(&TurnstoneTraced);
}

_Use_decl_annotations_
static VOID
TurnstoneSettleWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PTURNSTONE_CLIENT Client = (PTURNSTONE_CLIENT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    Client->Settled = Client->Drained;
    NmrProviderDetachClientComplete(Client->BindingHandle);
}

_Use_decl_annotations_
static VOID
TurnstoneDrainWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PTURNSTONE_CLIENT Client = (PTURNSTONE_CLIENT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    TurnstoneTrace();
    Client->Drained++;
    if (Client->DetachPending) {
        IoQueueWorkItem(Client->SettleWorkItem, TurnstoneSettleWorker, DelayedWorkQueue, Client);
    }
}

static VOID
TurnstoneFreeClient(_In_ PTURNSTONE_CLIENT Client)
{
    if (Client->DrainWorkItem != NULL) {
        IoFreeWorkItem(Client->DrainWorkItem);
    }
    if (Client->SettleWorkItem != NULL) {
        IoFreeWorkItem(Client->SettleWorkItem);
    }
    ExFreePoolWithTag(Client, TURNSTONE_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnstoneAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTURNSTONE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTURNSTONE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TURNSTONE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->DrainWorkItem = IoAllocateWorkItem(TurnstoneDevice);
    Client->SettleWorkItem = IoAllocateWorkItem(TurnstoneDevice);
    if (Client->DrainWorkItem == NULL || Client->SettleWorkItem == NULL) {
        TurnstoneFreeClient(Client);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TurnstoneDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnstoneDetachClient(PVOID ProviderBindingContext)
{
    PTURNSTONE_CLIENT Client = (PTURNSTONE_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DrainWorkItem, TurnstoneDrainWorker, DelayedWorkQueue, Client);

    // Defect: the work item may have looked at it before.
    Client->DetachPending = TRUE;
    TurnstoneTrace();
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
TurnstoneCleanupBindingContext(PVOID ProviderBindingContext)
{
    // Neither item is queued any more: the routine of the second, queued by the first, has brought us here.
    TurnstoneFreeClient((PTURNSTONE_CLIENT)ProviderBindingContext);
}

_Use_decl_annotations_
static VOID
TurnstoneUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(TurnstoneProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TurnstoneProviderHandle);
    }

    IoDeleteDevice(TurnstoneDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TurnstoneUnload;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &TurnstoneDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&TurnstoneCharacteristics, NULL, &TurnstoneProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(TurnstoneDevice);
    }

    return Status;
}
