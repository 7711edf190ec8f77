// nmrfuzz: module
// summary: Provider for one client at a time whose detach callback lets the next one in before the completion.
// provides: 1
// consumes: 0
// expect: bad-call, bad-handle, deadlock
// rule: R52, R72
// needs: a client attaches between the detach callback of another and its completion
// interleaving: yes
// hardness: 119 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

typedef struct _STALL_STATE {
    BOOLEAN Taken;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Sales;
} STALL_STATE;

typedef struct _STALL_PROVIDER_DISPATCH {
    LONG(NTAPI *Sell)(_In_opt_ PVOID ProviderBindingContext);
} STALL_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD StallUnload;
static IO_WORKITEM_ROUTINE StallDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN StallAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN StallDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN StallCleanupBindingContext;

static const NPIID StallNpiId = { 0x51254d06, 0xc455, 0x5273, { 0xb3, 0xdd, 0x4e, 0x17, 0x1c, 0xef, 0x13, 0xf4 } };
static const NPI_MODULEID StallModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1f869c7b, 0x1ab9, 0x5ec3, { 0x9f, 0xc8, 0x1d, 0xf3, 0xf3, 0xc2, 0xc9, 0x79 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS StallCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    StallAttachClient,
    StallDetachClient,
    StallCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &StallNpiId, &StallModuleId, 0, NULL }
};

static PDEVICE_OBJECT StallDevice;
static PIO_WORKITEM StallDetachWorkItem; // One is enough: there is one client, and so one detach, at a time.
static HANDLE StallProviderHandle;
static KSPIN_LOCK StallLock;
_Guarded_by_(StallLock) static STALL_STATE Stall;

static LONG NTAPI
StallSell(_In_opt_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedIncrement(&Stall.Sales);
}

static const STALL_PROVIDER_DISPATCH StallDispatch = { StallSell };

_Use_decl_annotations_
static VOID
StallDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    HANDLE BindingHandle;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // The completion may give the state to the next client.
    KeAcquireSpinLock(&StallLock, &OldIrql);
    BindingHandle = Stall.BindingHandle;
    KeReleaseSpinLock(&StallLock, OldIrql);

    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StallAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    NTSTATUS Status = STATUS_NOINTERFACE;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    KeAcquireSpinLock(&StallLock, &OldIrql);
    if (!Stall.Taken) {
        Stall.Taken = TRUE;
        Stall.BindingHandle = NmrBindingHandle;
        Stall.ClientBindingContext = ClientBindingContext;
        Stall.ClientDispatch = ClientDispatch;
        Status = STATUS_SUCCESS;
    }
    KeReleaseSpinLock(&StallLock, OldIrql);

    if (Status == STATUS_SUCCESS) {
        *ProviderBindingContext = NULL;
        *ProviderDispatch = &StallDispatch;
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StallDetachClient(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // Defect: the handle is needed until the work item has read it, the state until the cleanup.
    KeAcquireSpinLock(&StallLock, &OldIrql);
    Stall.Taken = FALSE;
    KeReleaseSpinLock(&StallLock, OldIrql);

    IoQueueWorkItem(StallDetachWorkItem, StallDetachWorker, DelayedWorkQueue, NULL);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
StallCleanupBindingContext(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderBindingContext);

    KeAcquireSpinLock(&StallLock, &OldIrql);
    RtlZeroMemory(&Stall, sizeof(Stall));
    KeReleaseSpinLock(&StallLock, OldIrql);
}

_Use_decl_annotations_
static VOID
StallUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(StallProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(StallProviderHandle);
    }

    IoFreeWorkItem(StallDetachWorkItem);
    IoDeleteDevice(StallDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = StallUnload;
    KeInitializeSpinLock(&StallLock);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &StallDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    StallDetachWorkItem = IoAllocateWorkItem(StallDevice);
    if (StallDetachWorkItem == NULL) {
        IoDeleteDevice(StallDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&StallCharacteristics, NULL, &StallProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(StallDetachWorkItem);
        IoDeleteDevice(StallDevice);
    }

    return Status;
}
