// nmrfuzz: module
// summary: Provider whose Unload waits for a deregistration that the work item with the claim on it may not have begun.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R99
// needs: last client leaves by itself, then unload before the work item has deregistered
// interleaving: yes
// hardness: 169 schedules; 108 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ESCROW_POOL_TAG 'rcsE'

typedef struct _ESCROW_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} ESCROW_CLIENT, *PESCROW_CLIENT;

typedef struct _ESCROW_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} ESCROW_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EscrowUnload;
static IO_WORKITEM_ROUTINE EscrowDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN EscrowAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN EscrowDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN EscrowCleanupBindingContext;

static const NPIID EscrowNpiId = { 0xcff66fc7, 0x1bbb, 0x5210, { 0x9a, 0x93, 0x42, 0x67, 0x92, 0x49, 0x54, 0x69 } };
static const NPI_MODULEID EscrowModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x12a9c612, 0x6c5f, 0x5cfa, { 0xb2, 0x12, 0x18, 0x4e, 0x1c, 0x1e, 0xfe, 0xe2 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS EscrowCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    EscrowAttachClient,
    EscrowDetachClient,
    EscrowCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EscrowNpiId, &EscrowModuleId, 0, NULL }
};

static PDEVICE_OBJECT EscrowDevice;
static PIO_WORKITEM EscrowWorkItem;
static EX_RUNDOWN_REF EscrowWorkRundown; // Held while the work item is queued or running.
static KEVENT EscrowRegistered;          // EscrowProviderHandle has been stored.
static HANDLE EscrowProviderHandle;
static KSPIN_LOCK EscrowLock;
_Guarded_by_(EscrowLock) static ULONG EscrowClients;
_Guarded_by_(EscrowLock) static BOOLEAN EscrowActive;
_Guarded_by_(EscrowLock) static BOOLEAN EscrowWorkQueued; // Once in the driver's life.

static ULONG NTAPI
EscrowVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const ESCROW_PROVIDER_DISPATCH EscrowDispatch = { EscrowVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
EscrowClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EscrowLock, &OldIrql);
    Claimed = EscrowActive;
    EscrowActive = FALSE;
    KeReleaseSpinLock(&EscrowLock, OldIrql);
    return Claimed;
}

static VOID
EscrowDeactivate(VOID)
{
    if (NmrDeregisterProvider(EscrowProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(EscrowProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
EscrowDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&EscrowRegistered, Executive, KernelMode, FALSE, NULL);

    // Unload, which will come some time, waits for the end of this.
    NmrDeregisterProvider(EscrowProviderHandle);
    ExReleaseRundownProtection(&EscrowWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EscrowAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PESCROW_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PESCROW_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), ESCROW_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&EscrowLock, &OldIrql);
    EscrowClients++;
    KeReleaseSpinLock(&EscrowLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &EscrowDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EscrowDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EscrowCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, ESCROW_POOL_TAG);

    // During unload EscrowActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&EscrowLock, &OldIrql);
    EscrowClients--;
    Queue = EscrowClients == 0 && EscrowActive && !EscrowWorkQueued &&
            ExAcquireRundownProtection(&EscrowWorkRundown);
    if (Queue) {
        EscrowWorkQueued = TRUE;
        EscrowActive = FALSE; // Claimed for the work item.
    }
    KeReleaseSpinLock(&EscrowLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(EscrowWorkItem, EscrowDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes EscrowInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
EscrowFreeResources(VOID)
{
    IoFreeWorkItem(EscrowWorkItem);
    IoDeleteDevice(EscrowDevice);
}

_Use_decl_annotations_
static VOID
EscrowUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: the wait for the work item, by which it has deregistered, has to come first.
    if (EscrowClaim()) {
        EscrowDeactivate();
    } else {
        NmrWaitForProviderDeregisterComplete(EscrowProviderHandle);
    }
    ExWaitForRundownProtectionRelease(&EscrowWorkRundown);
    EscrowFreeResources();
}

_Must_inspect_result_
static NTSTATUS
EscrowInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&EscrowLock);
    KeInitializeEvent(&EscrowRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&EscrowWorkRundown);
    EscrowActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &EscrowDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    EscrowWorkItem = IoAllocateWorkItem(EscrowDevice);
    if (EscrowWorkItem == NULL) {
        IoDeleteDevice(EscrowDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EscrowUnload;

    Status = EscrowInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&EscrowCharacteristics, NULL, &EscrowProviderHandle);
    if (!NT_SUCCESS(Status)) {
        EscrowFreeResources();
        return Status;
    }

    KeSetEvent(&EscrowRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
