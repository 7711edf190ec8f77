// nmrfuzz: module
// summary: Provider that starts afresh when its last client has left, and registers again before the old registration is complete.
// provides: 1
// consumes: 0
// expect: bad-call, unload-pending
// rule: R29, R28, R97
// needs: last client leaves by itself
// interleaving: no
// hardness: 24 schedules; 7 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SEASON_POOL_TAG 'aseS'

typedef struct _SEASON_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SEASON_CLIENT, *PSEASON_CLIENT;

typedef struct _SEASON_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SEASON_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SeasonUnload;
static IO_WORKITEM_ROUTINE SeasonDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN SeasonAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SeasonDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SeasonCleanupBindingContext;

static const NPIID SeasonNpiId = { 0xb0d0b46a, 0x18c5, 0x57c0, { 0x97, 0x71, 0x04, 0xf8, 0x45, 0xb2, 0xd9, 0xd8 } };
static const NPI_MODULEID SeasonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x41b74405, 0x6e6f, 0x59a4, { 0xbb, 0xe9, 0xc6, 0xf3, 0x3e, 0xa4, 0x2e, 0xb9 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SeasonCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SeasonAttachClient,
    SeasonDetachClient,
    SeasonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SeasonNpiId, &SeasonModuleId, 0, NULL }
};

static PDEVICE_OBJECT SeasonDevice;
static PIO_WORKITEM SeasonWorkItem;
static EX_RUNDOWN_REF SeasonWorkRundown; // Held while the work item is queued or running.
static KEVENT SeasonRegistered;          // SeasonProviderHandle has been stored.
static HANDLE SeasonProviderHandle;
static KSPIN_LOCK SeasonLock;
_Guarded_by_(SeasonLock) static ULONG SeasonClients;
_Guarded_by_(SeasonLock) static BOOLEAN SeasonActive;
_Guarded_by_(SeasonLock) static BOOLEAN SeasonWorkQueued; // Once in the driver's life.

static ULONG NTAPI
SeasonVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SEASON_PROVIDER_DISPATCH SeasonDispatch = { SeasonVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
SeasonClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SeasonLock, &OldIrql);
    Claimed = SeasonActive;
    SeasonActive = FALSE;
    KeReleaseSpinLock(&SeasonLock, OldIrql);
    return Claimed;
}

static VOID
SeasonDeactivate(VOID)
{
    if (NmrDeregisterProvider(SeasonProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SeasonProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
SeasonDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&SeasonRegistered, Executive, KernelMode, FALSE, NULL);

    if (SeasonClaim()) {
        // Defect: no wait between the two, so one set of structures serves two registrations.
        NmrDeregisterProvider(SeasonProviderHandle);
        if (NT_SUCCESS(NmrRegisterProvider(&SeasonCharacteristics, NULL, &SeasonProviderHandle))) {
            KeAcquireSpinLock(&SeasonLock, &OldIrql);
            SeasonActive = TRUE;
            KeReleaseSpinLock(&SeasonLock, OldIrql);
        }
    }

    ExReleaseRundownProtection(&SeasonWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SeasonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSEASON_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSEASON_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SEASON_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&SeasonLock, &OldIrql);
    SeasonClients++;
    KeReleaseSpinLock(&SeasonLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SeasonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SeasonDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SeasonCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, SEASON_POOL_TAG);

    // During unload SeasonActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&SeasonLock, &OldIrql);
    SeasonClients--;
    Queue = SeasonClients == 0 && SeasonActive && !SeasonWorkQueued &&
            ExAcquireRundownProtection(&SeasonWorkRundown);
    if (Queue) {
        SeasonWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&SeasonLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(SeasonWorkItem, SeasonDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes SeasonInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
SeasonFreeResources(VOID)
{
    IoFreeWorkItem(SeasonWorkItem);
    IoDeleteDevice(SeasonDevice);
}

_Use_decl_annotations_
static VOID
SeasonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // No work item from here on, so the handle and the claim are final.
    ExWaitForRundownProtectionRelease(&SeasonWorkRundown);
    if (SeasonClaim()) {
        SeasonDeactivate();
    }
    SeasonFreeResources();
}

_Must_inspect_result_
static NTSTATUS
SeasonInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&SeasonLock);
    KeInitializeEvent(&SeasonRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&SeasonWorkRundown);
    SeasonActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &SeasonDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    SeasonWorkItem = IoAllocateWorkItem(SeasonDevice);
    if (SeasonWorkItem == NULL) {
        IoDeleteDevice(SeasonDevice);
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

    DriverObject->DriverUnload = SeasonUnload;

    Status = SeasonInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SeasonCharacteristics, NULL, &SeasonProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SeasonFreeResources();
        return Status;
    }

    KeSetEvent(&SeasonRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
