// nmrfuzz: module
// summary: Provider for one client at a time that asks whether its state is free and takes it in two separate steps.
// provides: 1
// consumes: 0
// expect: bad-call, bad-handle, deadlock
// rule: R52, R72
// needs: two clients attach at the same time
// interleaving: yes
// hardness: 135 schedules; 1000+ run to completion

// There is nothing that a context could tell apart: the callbacks know where the only state is. It belongs to a client
// from the attach callback, which takes it, until the cleanup callback, which gives it back.

#include <ntddk.h>
#include <netioddk.h>

typedef struct _BOOTH_STATE {
    BOOLEAN Taken;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Sales;
} BOOTH_STATE;

typedef struct _BOOTH_PROVIDER_DISPATCH {
    LONG(NTAPI *Sell)(_In_opt_ PVOID ProviderBindingContext);
} BOOTH_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BoothUnload;
static IO_WORKITEM_ROUTINE BoothDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN BoothAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BoothDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BoothCleanupBindingContext;

static const NPIID BoothNpiId = { 0x9f3fe663, 0x0127, 0x52a8, { 0x94, 0xf9, 0x9e, 0xc9, 0x3f, 0xf5, 0xe3, 0xfb } };
static const NPI_MODULEID BoothModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x38b7d383, 0xe4a0, 0x58cd, { 0xb0, 0xb6, 0xe2, 0x2a, 0x15, 0x28, 0x42, 0xd4 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BoothCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BoothAttachClient,
    BoothDetachClient,
    BoothCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BoothNpiId, &BoothModuleId, 0, NULL }
};

static PDEVICE_OBJECT BoothDevice;
static PIO_WORKITEM BoothDetachWorkItem; // One is enough: there is one client, and so one detach, at a time.
static HANDLE BoothProviderHandle;
static KSPIN_LOCK BoothLock;
_Guarded_by_(BoothLock) static BOOTH_STATE Booth;

static LONG NTAPI
BoothSell(_In_opt_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedIncrement(&Booth.Sales);
}

static const BOOTH_PROVIDER_DISPATCH BoothDispatch = { BoothSell };

_Use_decl_annotations_
static VOID
BoothDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    HANDLE BindingHandle;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // The completion may give the state to the next client.
    KeAcquireSpinLock(&BoothLock, &OldIrql);
    BindingHandle = Booth.BindingHandle;
    KeReleaseSpinLock(&BoothLock, OldIrql);

    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BoothAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    BOOLEAN Taken;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    KeAcquireSpinLock(&BoothLock, &OldIrql);
    Taken = Booth.Taken;
    KeReleaseSpinLock(&BoothLock, OldIrql);

    if (Taken) {
        return STATUS_NOINTERFACE;
    }

    // Defect: another client may have found it free as well since the lock was released.
    KeAcquireSpinLock(&BoothLock, &OldIrql);
    Booth.Taken = TRUE;
    Booth.BindingHandle = NmrBindingHandle;
    Booth.ClientBindingContext = ClientBindingContext;
    Booth.ClientDispatch = ClientDispatch;
    KeReleaseSpinLock(&BoothLock, OldIrql);

    *ProviderBindingContext = NULL;
    *ProviderDispatch = &BoothDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BoothDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    IoQueueWorkItem(BoothDetachWorkItem, BoothDetachWorker, DelayedWorkQueue, NULL);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
BoothCleanupBindingContext(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderBindingContext);

    KeAcquireSpinLock(&BoothLock, &OldIrql);
    RtlZeroMemory(&Booth, sizeof(Booth));
    KeReleaseSpinLock(&BoothLock, OldIrql);
}

_Use_decl_annotations_
static VOID
BoothUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(BoothProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BoothProviderHandle);
    }

    IoFreeWorkItem(BoothDetachWorkItem);
    IoDeleteDevice(BoothDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BoothUnload;
    KeInitializeSpinLock(&BoothLock);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &BoothDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    BoothDetachWorkItem = IoAllocateWorkItem(BoothDevice);
    if (BoothDetachWorkItem == NULL) {
        IoDeleteDevice(BoothDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&BoothCharacteristics, NULL, &BoothProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(BoothDetachWorkItem);
        IoDeleteDevice(BoothDevice);
    }

    return Status;
}
