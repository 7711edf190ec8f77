// nmrfuzz: module
// summary: Provider whose work routine finds its list empty and says that it is no longer queued in two separate steps.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R68
// needs: a client is detached between the two steps
// interleaving: yes
// hardness: 388 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FOUNDRY_POOL_TAG 'nuoF'

typedef struct _FOUNDRY_CLIENT {
    LIST_ENTRY Link; // In FoundryDetaching, from the detach callback until the work routine takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Pages;
} FOUNDRY_CLIENT, *PFOUNDRY_CLIENT;

typedef struct _FOUNDRY_PROVIDER_DISPATCH {
    LONG(NTAPI *Print)(_In_ PVOID ProviderBindingContext);
} FOUNDRY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FoundryUnload;
static IO_WORKITEM_ROUTINE FoundryDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN FoundryAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN FoundryDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN FoundryCleanupBindingContext;

static const NPIID FoundryNpiId = { 0xe1557382, 0xdc66, 0x5b0e, { 0xa2, 0xc9, 0x1a, 0xa0, 0x6b, 0xec, 0xe2, 0x6c } };
static const NPI_MODULEID FoundryModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf3753ad5, 0x970a, 0x5d79, { 0x9d, 0x9a, 0x12, 0xa9, 0x79, 0x39, 0xe3, 0x20 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS FoundryCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    FoundryAttachClient,
    FoundryDetachClient,
    FoundryCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FoundryNpiId, &FoundryModuleId, 0, NULL }
};

static PDEVICE_OBJECT FoundryDevice;
static PIO_WORKITEM FoundryWorkItem;
static HANDLE FoundryProviderHandle;
static LONG FoundryPages;
static KSPIN_LOCK FoundryLock;
_Guarded_by_(FoundryLock) static LIST_ENTRY FoundryDetaching;
_Guarded_by_(FoundryLock) static BOOLEAN FoundryQueued;

static LONG NTAPI
FoundryPrint(_In_ PVOID ProviderBindingContext)
{
    PFOUNDRY_CLIENT Client = (PFOUNDRY_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Pages);
}

static const FOUNDRY_PROVIDER_DISPATCH FoundryDispatch = { FoundryPrint };

// The next client to complete; NULL: there is none.
_Must_inspect_result_
static PFOUNDRY_CLIENT
FoundryTakeDetaching(VOID)
{
    PFOUNDRY_CLIENT Client = NULL;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FoundryLock, &OldIrql);
    if (!IsListEmpty(&FoundryDetaching)) {
        Client = CONTAINING_RECORD(RemoveHeadList(&FoundryDetaching), FOUNDRY_CLIENT, Link);
    }
    KeReleaseSpinLock(&FoundryLock, OldIrql);
    return Client;
}

_Use_decl_annotations_
static VOID
FoundryDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PFOUNDRY_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    while ((Client = FoundryTakeDetaching()) != NULL) {
        InterlockedExchangeAdd(&FoundryPages, InterlockedExchange(&Client->Pages, 0));
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }

    // Defect: a client that came on the list since it was found empty has not queued the work item, and nobody will.
    KeAcquireSpinLock(&FoundryLock, &OldIrql);
    FoundryQueued = FALSE;
    KeReleaseSpinLock(&FoundryLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FoundryAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFOUNDRY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PFOUNDRY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), FOUNDRY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &FoundryDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FoundryDetachClient(PVOID ProviderBindingContext)
{
    PFOUNDRY_CLIENT Client = (PFOUNDRY_CLIENT)ProviderBindingContext;
    BOOLEAN Queue;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FoundryLock, &OldIrql);
    InsertTailList(&FoundryDetaching, &Client->Link);
    Queue = !FoundryQueued;
    FoundryQueued = TRUE;
    KeReleaseSpinLock(&FoundryLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(FoundryWorkItem, FoundryDetachWorker, DelayedWorkQueue, NULL);
    }

    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
FoundryCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, FOUNDRY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
FoundryUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(FoundryProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(FoundryProviderHandle);
    }

    // The routine may still be on its way out. It has been taken off its queue, and holds the device object.
    IoFreeWorkItem(FoundryWorkItem);
    IoDeleteDevice(FoundryDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FoundryUnload;
    KeInitializeSpinLock(&FoundryLock);
    InitializeListHead(&FoundryDetaching);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &FoundryDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    FoundryWorkItem = IoAllocateWorkItem(FoundryDevice);
    if (FoundryWorkItem == NULL) {
        IoDeleteDevice(FoundryDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&FoundryCharacteristics, NULL, &FoundryProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(FoundryWorkItem);
        IoDeleteDevice(FoundryDevice);
    }

    return Status;
}
