// nmrfuzz: module
// summary: Provider of eight NPIs, each awaited by a work item; their common count can be zero before all are begun.
// provides: 8
// consumes: 0
// expect: unload-pending
// rule: R90, R91, R95
// needs: a deregistration is complete before the next one is begun
// interleaving: yes
// hardness: 4 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TURNOUT_NPIS 8
#define TURNOUT_POOL_TAG 'nruT'

typedef struct _TURNOUT_SLOT {
    NPIID NpiId;
    NPI_MODULEID ModuleId;
    NPI_PROVIDER_CHARACTERISTICS Characteristics;
    HANDLE Handle;
    PIO_WORKITEM WorkItem;
} TURNOUT_SLOT, *PTURNOUT_SLOT;

typedef struct _TURNOUT_CLIENT {
    PTURNOUT_SLOT Slot;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} TURNOUT_CLIENT, *PTURNOUT_CLIENT;

typedef struct _TURNOUT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} TURNOUT_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TurnoutUnload;
static IO_WORKITEM_ROUTINE TurnoutWaitWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN TurnoutAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TurnoutDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TurnoutCleanupBindingContext;

static const NPIID TurnoutNpiId = { 0x145ff600, 0xa2e1, 0x56b2, { 0x9f, 0x19, 0xa6, 0x45, 0x4c, 0xd6, 0xb4, 0x26 } };
static const GUID TurnoutModuleId = { 0x7419a100, 0x06fd, 0x5952, { 0x98, 0xf4, 0xb6, 0x19, 0xf6, 0x18, 0x96, 0x36 } };

static TURNOUT_SLOT TurnoutSlots[TURNOUT_NPIS];
static PDEVICE_OBJECT TurnoutDevice;
static volatile LONG TurnoutOutstanding; // Deregistrations of all NPIs.
static KEVENT TurnoutAllDone;

static ULONG NTAPI
TurnoutVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const TURNOUT_PROVIDER_DISPATCH TurnoutDispatch = { TurnoutVersion };

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnoutAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTURNOUT_CLIENT Client;

    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTURNOUT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TURNOUT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Slot = (PTURNOUT_SLOT)ProviderContext;
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TurnoutDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TurnoutDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TurnoutCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, TURNOUT_POOL_TAG);
}

static VOID
TurnoutInitializeSlot(_In_ ULONG Index)
{
    PTURNOUT_SLOT Slot = &TurnoutSlots[Index];
    NPI_REGISTRATION_INSTANCE *Instance = &Slot->Characteristics.ProviderRegistrationInstance;

    Slot->NpiId = TurnoutNpiId;
    Slot->NpiId.Data1 += Index;
    Slot->ModuleId.Length = sizeof(NPI_MODULEID);
    Slot->ModuleId.Type = MIT_GUID;
    Slot->ModuleId.Guid = TurnoutModuleId;
    Slot->ModuleId.Guid.Data1 += Index;
    Slot->Characteristics.Version = 0;
    Slot->Characteristics.Length = sizeof(Slot->Characteristics);
    Slot->Characteristics.ProviderAttachClient = TurnoutAttachClient;
    Slot->Characteristics.ProviderDetachClient = TurnoutDetachClient;
    Slot->Characteristics.ProviderCleanupBindingContext = TurnoutCleanupBindingContext;
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &Slot->NpiId;
    Instance->ModuleId = &Slot->ModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;
}

static VOID
TurnoutDeregister(_In_ PTURNOUT_SLOT Slot)
{
    if (NmrDeregisterProvider(Slot->Handle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(Slot->Handle);
    }
}

_Use_decl_annotations_
static VOID
TurnoutWaitWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PTURNOUT_SLOT Slot = (PTURNOUT_SLOT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    NmrWaitForProviderDeregisterComplete(Slot->Handle);
    IoFreeWorkItem(Slot->WorkItem);
    if (InterlockedDecrement(&TurnoutOutstanding) == 0) {
        KeSetEvent(&TurnoutAllDone, IO_NO_INCREMENT, FALSE);
    }
}

// Undoes the allocations for the first `Count` slots.
static VOID
TurnoutFreeResources(_In_ ULONG Count)
{
    while (Count > 0) {
        IoFreeWorkItem(TurnoutSlots[--Count].WorkItem);
    }
    IoDeleteDevice(TurnoutDevice);
}

// The NPIs leave side by side; each has a work item that waits for it.
_Use_decl_annotations_
static VOID
TurnoutUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG Index;
    BOOLEAN Queued = FALSE;

    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: the count is back at zero whenever those begun so far are through, although others follow.
    for (Index = 0; Index < TURNOUT_NPIS; Index++) {
        if (NmrDeregisterProvider(TurnoutSlots[Index].Handle) == STATUS_PENDING) {
            InterlockedIncrement(&TurnoutOutstanding);
            IoQueueWorkItem(
                TurnoutSlots[Index].WorkItem, TurnoutWaitWorker, DelayedWorkQueue, &TurnoutSlots[Index]);
            Queued = TRUE;
        } else {
            IoFreeWorkItem(TurnoutSlots[Index].WorkItem);
        }
    }

    if (Queued) {
        KeWaitForSingleObject(&TurnoutAllDone, Executive, KernelMode, FALSE, NULL);
    }
    IoDeleteDevice(TurnoutDevice);
}

_Must_inspect_result_
static NTSTATUS
TurnoutInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    ULONG Index;
    NTSTATUS Status;

    KeInitializeEvent(&TurnoutAllDone, NotificationEvent, FALSE);
    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &TurnoutDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    for (Index = 0; Index < TURNOUT_NPIS; Index++) {
        TurnoutInitializeSlot(Index);
        TurnoutSlots[Index].WorkItem = IoAllocateWorkItem(TurnoutDevice);
        if (TurnoutSlots[Index].WorkItem == NULL) {
            TurnoutFreeResources(Index);
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Index;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TurnoutUnload;

    Status = TurnoutInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    for (Index = 0; Index < TURNOUT_NPIS; Index++) {
        Status = NmrRegisterProvider(
            &TurnoutSlots[Index].Characteristics, &TurnoutSlots[Index], &TurnoutSlots[Index].Handle);
        if (!NT_SUCCESS(Status)) {
            while (Index > 0) {
                TurnoutDeregister(&TurnoutSlots[--Index]);
            }
            TurnoutFreeResources(TURNOUT_NPIS);
            return Status;
        }
    }
    return STATUS_SUCCESS;
}
