// nmrfuzz: module
// summary: Provider whose deactivation holds a spin lock until it is complete, so that Unload cannot overtake it.
// provides: 1
// consumes: 0
// expect: irql
// rule: R100
// needs: last client leaves by itself
// interleaving: no
// hardness: 24 schedules; 9 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CHARTER_POOL_TAG 'rahC'

typedef struct _CHARTER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} CHARTER_CLIENT, *PCHARTER_CLIENT;

typedef struct _CHARTER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} CHARTER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CharterUnload;
static IO_WORKITEM_ROUTINE CharterDeactivateWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN CharterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CharterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CharterCleanupBindingContext;

static const NPIID CharterNpiId = { 0xc3572074, 0xbc29, 0x5aea, { 0x8d, 0x85, 0x86, 0x3c, 0xdb, 0xeb, 0xec, 0xd0 } };
static const NPI_MODULEID CharterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x788c9b7c, 0xf7e8, 0x595e, { 0xa2, 0x52, 0x49, 0x8f, 0xeb, 0x5b, 0xaf, 0x6e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CharterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CharterAttachClient,
    CharterDetachClient,
    CharterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CharterNpiId, &CharterModuleId, 0, NULL }
};

static PDEVICE_OBJECT CharterDevice;
static PIO_WORKITEM CharterWorkItem;
static EX_RUNDOWN_REF CharterWorkRundown; // Held while the work item is queued or running.
static KEVENT CharterRegistered;          // CharterProviderHandle has been stored.
static HANDLE CharterProviderHandle;
static KSPIN_LOCK CharterDeactivationLock; // Held by the work item while it deactivates.
static KSPIN_LOCK CharterLock;
_Guarded_by_(CharterLock) static ULONG CharterClients;
_Guarded_by_(CharterLock) static BOOLEAN CharterActive;
_Guarded_by_(CharterLock) static BOOLEAN CharterWorkQueued; // Once in the driver's life.

static ULONG NTAPI
CharterVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const CHARTER_PROVIDER_DISPATCH CharterDispatch = { CharterVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
CharterClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CharterLock, &OldIrql);
    Claimed = CharterActive;
    CharterActive = FALSE;
    KeReleaseSpinLock(&CharterLock, OldIrql);
    return Claimed;
}

static VOID
CharterDeactivate(VOID)
{
    if (NmrDeregisterProvider(CharterProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CharterProviderHandle);
    }
}

_Use_decl_annotations_
static VOID
CharterDeactivateWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // A client may come and go while NmrRegisterProvider has yet to return, and so before the handle is known.
    KeWaitForSingleObject(&CharterRegistered, Executive, KernelMode, FALSE, NULL);

    // Defect: the wait takes less than DISPATCH_LEVEL.
    KeAcquireSpinLock(&CharterDeactivationLock, &OldIrql);
    if (CharterClaim()) {
        CharterDeactivate();
    }
    KeReleaseSpinLock(&CharterDeactivationLock, OldIrql);

    ExReleaseRundownProtection(&CharterWorkRundown);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CharterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCHARTER_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PCHARTER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), CHARTER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&CharterLock, &OldIrql);
    CharterClients++;
    KeReleaseSpinLock(&CharterLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &CharterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CharterDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CharterCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Queue;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, CHARTER_POOL_TAG);

    // During unload CharterActive is clear already, and nothing is queued.
    KeAcquireSpinLock(&CharterLock, &OldIrql);
    CharterClients--;
    Queue = CharterClients == 0 && CharterActive && !CharterWorkQueued &&
            ExAcquireRundownProtection(&CharterWorkRundown);
    if (Queue) {
        CharterWorkQueued = TRUE;
    }
    KeReleaseSpinLock(&CharterLock, OldIrql);

    if (Queue) {
        IoQueueWorkItem(CharterWorkItem, CharterDeactivateWorker, DelayedWorkQueue, NULL);
    }
}

// Undoes CharterInitialize. No work item may be queued or running any more, save for its last instruction.
static VOID
CharterFreeResources(VOID)
{
    IoFreeWorkItem(CharterWorkItem);
    IoDeleteDevice(CharterDevice);
}

_Use_decl_annotations_
static VOID
CharterUnload(PDRIVER_OBJECT DriverObject)
{
    KIRQL OldIrql;
    BOOLEAN Claimed;

    KeAcquireSpinLock(&CharterDeactivationLock, &OldIrql);
    Claimed = CharterClaim();
    KeReleaseSpinLock(&CharterDeactivationLock, OldIrql);
    if (Claimed) {
        CharterDeactivate();
    }

    // If the work item has the claim, it is through with the deregistration when this returns.
    ExWaitForRundownProtectionRelease(&CharterWorkRundown);
    CharterFreeResources();
}

_Must_inspect_result_
static NTSTATUS
CharterInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    KeInitializeSpinLock(&CharterDeactivationLock);
    KeInitializeSpinLock(&CharterLock);
    KeInitializeEvent(&CharterRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&CharterWorkRundown);
    CharterActive = TRUE;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &CharterDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    CharterWorkItem = IoAllocateWorkItem(CharterDevice);
    if (CharterWorkItem == NULL) {
        IoDeleteDevice(CharterDevice);
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

    DriverObject->DriverUnload = CharterUnload;

    Status = CharterInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&CharterCharacteristics, NULL, &CharterProviderHandle);
    if (!NT_SUCCESS(Status)) {
        CharterFreeResources();
        return Status;
    }

    KeSetEvent(&CharterRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
