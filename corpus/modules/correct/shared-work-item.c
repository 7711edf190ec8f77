// nmrfuzz: module
// summary: Provider with one work item for all detaches; it is queued while the list of detaching clients is not empty.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// PressQueued says that the work item is queued, or that its routine has yet to look at the list. It is cleared under
// the lock under which the routine found the list empty, so a client that is put on the list later queues it again.

#include <ntddk.h>
#include <netioddk.h>

#define PRESS_POOL_TAG 'serP'

typedef struct _PRESS_CLIENT {
    LIST_ENTRY Link; // In PressDetaching, from the detach callback until the work routine takes it.
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Pages;
} PRESS_CLIENT, *PPRESS_CLIENT;

typedef struct _PRESS_PROVIDER_DISPATCH {
    LONG(NTAPI *Print)(_In_ PVOID ProviderBindingContext);
} PRESS_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PressUnload;
static IO_WORKITEM_ROUTINE PressDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN PressAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PressDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PressCleanupBindingContext;

static const NPIID PressNpiId = { 0xe7349179, 0xab68, 0x5143, { 0x98, 0x27, 0x96, 0xab, 0xf0, 0x65, 0xd0, 0x09 } };
static const NPI_MODULEID PressModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf40478e7, 0xe84f, 0x59f2, { 0xb5, 0xe2, 0xe3, 0x35, 0x23, 0x54, 0x8f, 0x01 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PressCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PressAttachClient,
    PressDetachClient,
    PressCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PressNpiId, &PressModuleId, 0, NULL }
};

static PDEVICE_OBJECT PressDevice;
static PIO_WORKITEM PressWorkItem;
static HANDLE PressProviderHandle;
static LONG PressPages;
static KSPIN_LOCK PressLock;
_Guarded_by_(PressLock) static LIST_ENTRY PressDetaching;
_Guarded_by_(PressLock) static BOOLEAN PressQueued;

static LONG NTAPI
PressPrint(_In_ PVOID ProviderBindingContext)
{
    PPRESS_CLIENT Client = (PPRESS_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Pages);
}

static const PRESS_PROVIDER_DISPATCH PressDispatch = { PressPrint };

// The next client to complete; NULL: there is none, and the work item may be queued again.
_Must_inspect_result_
static PPRESS_CLIENT
PressTakeDetaching(VOID)
{
    PPRESS_CLIENT Client = NULL;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PressLock, &OldIrql);
    if (IsListEmpty(&PressDetaching)) {
        PressQueued = FALSE;
    } else {
        Client = CONTAINING_RECORD(RemoveHeadList(&PressDetaching), PRESS_CLIENT, Link);
    }
    KeReleaseSpinLock(&PressLock, OldIrql);
    return Client;
}

_Use_decl_annotations_
static VOID
PressDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PPRESS_CLIENT Client;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    while ((Client = PressTakeDetaching()) != NULL) {
        InterlockedExchangeAdd(&PressPages, InterlockedExchange(&Client->Pages, 0));
        NmrProviderDetachClientComplete(Client->BindingHandle);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PressAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPRESS_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPRESS_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PRESS_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PressDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PressDetachClient(PVOID ProviderBindingContext)
{
    PPRESS_CLIENT Client = (PPRESS_CLIENT)ProviderBindingContext;
    BOOLEAN Queue;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PressLock, &OldIrql);
    InsertTailList(&PressDetaching, &Client->Link);
    Queue = !PressQueued;
    PressQueued = TRUE;
    KeReleaseSpinLock(&PressLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(PressWorkItem, PressDetachWorker, DelayedWorkQueue, NULL);
    }

    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PressCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PRESS_POOL_TAG);
}

_Use_decl_annotations_
static VOID
PressUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PressProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PressProviderHandle);
    }

    // The routine may still be on its way out. It has been taken off its queue, and holds the device object.
    IoFreeWorkItem(PressWorkItem);
    IoDeleteDevice(PressDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PressUnload;
    KeInitializeSpinLock(&PressLock);
    InitializeListHead(&PressDetaching);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &PressDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    PressWorkItem = IoAllocateWorkItem(PressDevice);
    if (PressWorkItem == NULL) {
        IoDeleteDevice(PressDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&PressCharacteristics, NULL, &PressProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(PressWorkItem);
        IoDeleteDevice(PressDevice);
    }

    return Status;
}
