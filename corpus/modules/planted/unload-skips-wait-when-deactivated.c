// nmrfuzz: module
// summary: Provider whose Unload takes a deactivation that has only begun for one that is complete.
// provides: 1
// consumes: 0
// expect: unload-pending, unload-registered
// rule: R97, R90, R89
// needs: last client leaves by itself, then unload while the work item waits for the deregistration
// interleaving: yes
// hardness: 97 schedules; 196 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TENURE_POOL_TAG 'uneT'

typedef struct _TENURE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} TENURE_CLIENT, *PTENURE_CLIENT;

typedef struct _TENURE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} TENURE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TenureUnload;
static IO_WORKITEM_ROUTINE TenureDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN TenureAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TenureDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TenureCleanupBindingContext;

static const NPIID TenureNpiId = { 0x0c1f8378, 0x47d8, 0x584c, { 0x84, 0xb3, 0xee, 0x0b, 0x4d, 0x3c, 0x7a, 0x7a } };
static const NPI_MODULEID TenureModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6420daef, 0x8db6, 0x53bd, { 0x90, 0xed, 0x37, 0xeb, 0xdd, 0x20, 0x0d, 0xf8 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TenureCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TenureAttachClient,
    TenureDetachClient,
    TenureCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TenureNpiId, &TenureModuleId, 0, NULL }
};

static PDEVICE_OBJECT TenureDevice;
static PIO_WORKITEM TenureWorkItem;
static EX_RUNDOWN_REF TenureWorkRundown; // Held while the work item is queued or running.
static KEVENT TenureRegistered;          // TenureProviderHandle has been stored.
static HANDLE TenureProviderHandle;
static KSPIN_LOCK TenureLock;
_Guarded_by_(TenureLock) static ULONG TenureClients;
_Guarded_by_(TenureLock) static BOOLEAN TenureActive;
_Guarded_by_(TenureLock) static BOOLEAN TenureWorkQueued; // Once in the driver's life.

static ULONG NTAPI
TenureVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const TENURE_PROVIDER_DISPATCH TenureDispatch = { TenureVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
TenureClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TenureLock, &OldIrql);
    Claimed = TenureActive;
    TenureActive = FALSE;
    KeReleaseSpinLock(&TenureLock, OldIrql);
    return Claimed;
}

static VOID
TenureDeactivate(VOID)
{
    if (NmrDeregisterProvider(TenureProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TenureProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
TenureDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&TenureRegistered, Executive, KernelMode, FALSE, NULL);

    if (TenureClaim()) {
        TenureDeactivate();
    }

    ExReleaseRundownProtection(&TenureWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TenureAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTENURE_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTENURE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TENURE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&TenureLock, &OldIrql);
    TenureClients++;
    KeReleaseSpinLock(&TenureLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TenureDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TenureDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TenureCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, TENURE_POOL_TAG);

    // During unload TenureActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&TenureLock, &OldIrql);
    TenureClients--;
    Queue = TenureClients == 0 && TenureActive && !TenureWorkQueued &&
            ExAcquireRundownProtection(&TenureWorkRundown);
    if (Queue) {
        TenureWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&TenureLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(TenureWorkItem, TenureDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes TenureInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
TenureFreeResources(VOID)
{
    IoFreeWorkItem(TenureWorkItem);
    IoDeleteDevice(TenureDevice);
}

_Use_decl_annotations_
static VOID
TenureUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: without the claim it is the work item that deregisters, and that may take longer than this function.
    if (TenureClaim()) {
        TenureDeactivate();
        ExWaitForRundownProtectionRelease(&TenureWorkRundown);
    }
    TenureFreeResources();
}

_Must_inspect_result_
static NTSTATUS
TenureInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&TenureLock);
    KeInitializeEvent(&TenureRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&TenureWorkRundown);
    TenureActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &TenureDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    TenureWorkItem = IoAllocateWorkItem(TenureDevice);
    if (TenureWorkItem == NULL) {
        IoDeleteDevice(TenureDevice);
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

    DriverObject->DriverUnload = TenureUnload;

    Status = TenureInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&TenureCharacteristics, NULL, &TenureProviderHandle);
    if (!NT_SUCCESS(Status)) {
        TenureFreeResources();
        return Status;
    }

    KeSetEvent(&TenureRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
