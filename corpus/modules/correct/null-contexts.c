// nmrfuzz: module
// summary: Provider for one client at a time, with one global state and NULL for its registration and binding contexts.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// There is nothing that a context could tell apart: the callbacks know where the only state is. It belongs to a client
// from the attach callback, which takes it, until the cleanup callback, which gives it back.

#include <ntddk.h>
#include <netioddk.h>

typedef struct _KIOSK_STATE {
    BOOLEAN Taken;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Sales;
} KIOSK_STATE;

typedef struct _KIOSK_PROVIDER_DISPATCH {
    LONG(NTAPI *Sell)(_In_opt_ PVOID ProviderBindingContext);
} KIOSK_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD KioskUnload;
static IO_WORKITEM_ROUTINE KioskDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN KioskAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN KioskDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN KioskCleanupBindingContext;

static const NPIID KioskNpiId = { 0x9270a506, 0x4b22, 0x5728, { 0xa9, 0x3d, 0xc7, 0x61, 0x91, 0x0a, 0xfa, 0x3c } };
static const NPI_MODULEID KioskModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfda473cc, 0x9035, 0x5786, { 0x8e, 0x36, 0xba, 0x19, 0x27, 0xa4, 0x1f, 0x75 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS KioskCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    KioskAttachClient,
    KioskDetachClient,
    KioskCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &KioskNpiId, &KioskModuleId, 0, NULL }
};

static PDEVICE_OBJECT KioskDevice;
static PIO_WORKITEM KioskDetachWorkItem; // One is enough: there is one client, and so one detach, at a time.
static HANDLE KioskProviderHandle;
static KSPIN_LOCK KioskLock;
_Guarded_by_(KioskLock) static KIOSK_STATE Kiosk;

static LONG NTAPI
KioskSell(_In_opt_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedIncrement(&Kiosk.Sales);
}

static const KIOSK_PROVIDER_DISPATCH KioskDispatch = { KioskSell };

_Use_decl_annotations_
static VOID
KioskDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    HANDLE BindingHandle;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    // The completion may give the state to the next client.
    KeAcquireSpinLock(&KioskLock, &OldIrql);
    BindingHandle = Kiosk.BindingHandle;
    KeReleaseSpinLock(&KioskLock, OldIrql);

    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KioskAttachClient(
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

    KeAcquireSpinLock(&KioskLock, &OldIrql);
    if (!Kiosk.Taken) {
        Kiosk.Taken = TRUE;
        Kiosk.BindingHandle = NmrBindingHandle;
        Kiosk.ClientBindingContext = ClientBindingContext;
        Kiosk.ClientDispatch = ClientDispatch;
        Status = STATUS_SUCCESS;
    }
    KeReleaseSpinLock(&KioskLock, OldIrql);

    if (Status == STATUS_SUCCESS) {
        *ProviderBindingContext = NULL;
        *ProviderDispatch = &KioskDispatch;
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KioskDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    IoQueueWorkItem(KioskDetachWorkItem, KioskDetachWorker, DelayedWorkQueue, NULL);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
KioskCleanupBindingContext(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderBindingContext);

    KeAcquireSpinLock(&KioskLock, &OldIrql);
    RtlZeroMemory(&Kiosk, sizeof(Kiosk));
    KeReleaseSpinLock(&KioskLock, OldIrql);
}

_Use_decl_annotations_
static VOID
KioskUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(KioskProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(KioskProviderHandle);
    }

    IoFreeWorkItem(KioskDetachWorkItem);
    IoDeleteDevice(KioskDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = KioskUnload;
    KeInitializeSpinLock(&KioskLock);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &KioskDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    KioskDetachWorkItem = IoAllocateWorkItem(KioskDevice);
    if (KioskDetachWorkItem == NULL) {
        IoDeleteDevice(KioskDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&KioskCharacteristics, NULL, &KioskProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(KioskDetachWorkItem);
        IoDeleteDevice(KioskDevice);
    }

    return Status;
}
