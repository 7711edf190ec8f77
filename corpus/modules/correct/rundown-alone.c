// nmrfuzz: module
// summary: Client of one provider at a time; run-down protection is all that orders its thread and the bindings.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Nothing but EgretRundown orders the pointer and what it points to. It is run down while there is no provider, so it
// is a lock that the thread can fail to get: re-initialising it publishes a binding, waiting for it takes it back.

#include <ntddk.h>
#include <netioddk.h>

#define EGRET_POOL_TAG 'ergE'

typedef struct _EGRET_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Reports;
    ULONGLONG LastReport; // interrupt time
} EGRET_BINDING, *PEGRET_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EgretUnload;
static KSTART_ROUTINE EgretThread;
static IO_WORKITEM_ROUTINE EgretDetachWorker;
static NPI_CLIENT_ATTACH_PROVIDER_FN EgretAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN EgretDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN EgretCleanupBindingContext;

static const NPIID EgretNpiId = { 0x26df58bb, 0x2805, 0x5b75, { 0x94, 0xac, 0x05, 0xe9, 0x8b, 0x40, 0x2a, 0xb0 } };
static const NPI_MODULEID EgretModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb1085ff9, 0xf63d, 0x5826, { 0xad, 0xec, 0x09, 0x91, 0xce, 0xbb, 0x85, 0xb2 } } }
};

static const NPI_CLIENT_CHARACTERISTICS EgretCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    EgretAttachProvider,
    EgretDetachProvider,
    EgretCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EgretNpiId, &EgretModuleId, 0, NULL }
};

static HANDLE EgretClientHandle;
static PDEVICE_OBJECT EgretDevice;
static PIO_WORKITEM EgretDetachWorkItem;
static PKTHREAD EgretThreadObject;
static KEVENT EgretStop;
static KSEMAPHORE EgretWork; // One count for each report that is due.
static LONG EgretClaimed;    // 1: there is a provider, or one is being attached
static PEGRET_BINDING EgretCurrent;
static EX_RUNDOWN_REF EgretRundown; // Run down while EgretCurrent is not to be used.
static ULONG EgretReportsMade;

// Reports to the provider of the day, if there is one.
static VOID
EgretReport(VOID)
{
    PEGRET_BINDING Binding;

    if (ExAcquireRundownProtection(&EgretRundown)) {
        Binding = EgretCurrent;
        Binding->LastReport = KeQueryInterruptTime();
        Binding->Reports++;
        ExReleaseRundownProtection(&EgretRundown);
    }
}

_Use_decl_annotations_
static VOID
EgretThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&EgretWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&EgretStop) != 0) {
            break;
        }
        EgretReport();
    }
}

_Use_decl_annotations_
static VOID
EgretDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PEGRET_BINDING Binding = (PEGRET_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    ExWaitForRundownProtectionRelease(&EgretRundown);
    EgretCurrent = NULL;
    EgretReportsMade += Binding->Reports;
    NmrClientDetachProviderComplete(Binding->BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EgretAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PEGRET_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (InterlockedCompareExchange(&EgretClaimed, 1, 0) != 0) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PEGRET_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), EGRET_POOL_TAG);
    if (Binding == NULL) {
        InterlockedExchange(&EgretClaimed, 0);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, EGRET_POOL_TAG);
        InterlockedExchange(&EgretClaimed, 0);
        return Status;
    }

    EgretCurrent = Binding;
    ExReInitializeRundownProtection(&EgretRundown);
    KeReleaseSemaphore(&EgretWork, IO_NO_INCREMENT, 2, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EgretDetachProvider(PVOID ClientBindingContext)
{
    // Waiting for the run-down is passive work. One binding at a time: the item of the last one has begun.
    IoQueueWorkItem(EgretDetachWorkItem, EgretDetachWorker, DelayedWorkQueue, ClientBindingContext);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
EgretCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, EGRET_POOL_TAG);
    InterlockedExchange(&EgretClaimed, 0);
}

_Must_inspect_result_
static NTSTATUS
EgretStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EgretThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EgretThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
EgretStopThread(VOID)
{
    KeSetEvent(&EgretStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&EgretWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(EgretThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(EgretThreadObject);
}

_Use_decl_annotations_
static VOID
EgretUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(EgretClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(EgretClientHandle);
    }

    EgretStopThread();
    IoFreeWorkItem(EgretDetachWorkItem);
    IoDeleteDevice(EgretDevice);
}

// The device and the work item; on failure neither.
_Must_inspect_result_
static NTSTATUS
EgretCreateDevice(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &EgretDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    EgretDetachWorkItem = IoAllocateWorkItem(EgretDevice);
    if (EgretDetachWorkItem == NULL) {
        IoDeleteDevice(EgretDevice);
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

    DriverObject->DriverUnload = EgretUnload;
    KeInitializeEvent(&EgretStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&EgretWork, 0, MAXLONG);

    // Nobody holds it: the wait only makes it fail.
    ExInitializeRundownProtection(&EgretRundown);
    ExWaitForRundownProtectionRelease(&EgretRundown);

    Status = EgretCreateDevice(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = EgretStartThread();
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(EgretDetachWorkItem);
        IoDeleteDevice(EgretDevice);
        return Status;
    }

    Status = NmrRegisterClient(&EgretCharacteristics, NULL, &EgretClientHandle);
    if (!NT_SUCCESS(Status)) {
        EgretStopThread();
        IoFreeWorkItem(EgretDetachWorkItem);
        IoDeleteDevice(EgretDevice);
    }

    return Status;
}
