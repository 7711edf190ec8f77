// nmrfuzz: module
// summary: Client whose thread counts its report in the binding after it has released the run-down protection.
// provides: 0
// consumes: 1
// expect: use-after-free, data-race
// rule: none
// needs: the detach runs between the release and the last count
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PLOVER_POOL_TAG 'volP'

typedef struct _PLOVER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Reports;
    ULONGLONG LastReport; // interrupt time
} PLOVER_BINDING, *PPLOVER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PloverUnload;
static KSTART_ROUTINE PloverThread;
static IO_WORKITEM_ROUTINE PloverDetachWorker;
static NPI_CLIENT_ATTACH_PROVIDER_FN PloverAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PloverDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PloverCleanupBindingContext;

static const NPIID PloverNpiId = { 0xf577d4ac, 0xe10a, 0x5e5e, { 0xaf, 0xaa, 0xa6, 0x4d, 0xd6, 0x2a, 0x49, 0xf7 } };
static const NPI_MODULEID PloverModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x7cb343aa, 0x6a14, 0x594e, { 0xa1, 0x62, 0xc2, 0x9e, 0xd1, 0x2e, 0x10, 0x9e } } }
};

static const NPI_CLIENT_CHARACTERISTICS PloverCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PloverAttachProvider,
    PloverDetachProvider,
    PloverCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PloverNpiId, &PloverModuleId, 0, NULL }
};

static HANDLE PloverClientHandle;
static PDEVICE_OBJECT PloverDevice;
static PIO_WORKITEM PloverDetachWorkItem;
static PKTHREAD PloverThreadObject;
static KEVENT PloverStop;
static KSEMAPHORE PloverWork; // One count for each report that is due.
static LONG PloverClaimed;    // 1: there is a provider, or one is being attached
static PPLOVER_BINDING PloverCurrent;
static EX_RUNDOWN_REF PloverRundown; // Run down while PloverCurrent is not to be used.
static ULONG PloverReportsMade;
static LONG PloverTraced;

// The number of the next line in the log.
static VOID
PloverTrace(VOID)
{
    InterlockedIncrement(&PloverTraced);
}

// Reports to the provider of the day, if there is one.
static VOID
PloverReport(VOID)
{
    PPLOVER_BINDING Binding;
    ULONGLONG Now;

    PloverTrace();
    if (ExAcquireRundownProtection(&PloverRundown)) {
        Binding = PloverCurrent;
        Now = KeQueryInterruptTime();
        ExReleaseRundownProtection(&PloverRundown);

        // Defect: the binding is no longer protected.
        Binding->LastReport = Now;
        Binding->Reports++;
    }
    PloverTrace();
}

_Use_decl_annotations_
static VOID
PloverThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&PloverWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&PloverStop) != 0) {
            break;
        }
        PloverReport();
    }
}

_Use_decl_annotations_
static VOID
PloverDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PPLOVER_BINDING Binding = (PPLOVER_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    PloverTrace();
    ExWaitForRundownProtectionRelease(&PloverRundown);
    PloverCurrent = NULL;
    PloverReportsMade += Binding->Reports;
    PloverTrace();
    NmrClientDetachProviderComplete(Binding->BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PloverAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPLOVER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (InterlockedCompareExchange(&PloverClaimed, 1, 0) != 0) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PPLOVER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PLOVER_POOL_TAG);
    if (Binding == NULL) {
        InterlockedExchange(&PloverClaimed, 0);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PLOVER_POOL_TAG);
        InterlockedExchange(&PloverClaimed, 0);
        return Status;
    }

    PloverTrace();
    PloverCurrent = Binding;
    ExReInitializeRundownProtection(&PloverRundown);
    KeReleaseSemaphore(&PloverWork, IO_NO_INCREMENT, 2, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PloverDetachProvider(PVOID ClientBindingContext)
{
    // Waiting for the run-down is passive work. One binding at a time: the item of the last one has begun.
    IoQueueWorkItem(PloverDetachWorkItem, PloverDetachWorker, DelayedWorkQueue, ClientBindingContext);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PloverCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PLOVER_POOL_TAG);
    InterlockedExchange(&PloverClaimed, 0);
}

_Must_inspect_result_
static NTSTATUS
PloverStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PloverThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PloverThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PloverStopThread(VOID)
{
    KeSetEvent(&PloverStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&PloverWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(PloverThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PloverThreadObject);
}

_Use_decl_annotations_
static VOID
PloverUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(PloverClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PloverClientHandle);
    }

    PloverStopThread();
    IoFreeWorkItem(PloverDetachWorkItem);
    IoDeleteDevice(PloverDevice);
}

// The device and the work item; on failure neither.
_Must_inspect_result_
static NTSTATUS
PloverCreateDevice(_In_ PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &PloverDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    PloverDetachWorkItem = IoAllocateWorkItem(PloverDevice);
    if (PloverDetachWorkItem == NULL) {
        IoDeleteDevice(PloverDevice);
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

    DriverObject->DriverUnload = PloverUnload;
    KeInitializeEvent(&PloverStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&PloverWork, 0, MAXLONG);

    // Nobody holds it: the wait only makes it fail.
    ExInitializeRundownProtection(&PloverRundown);
    ExWaitForRundownProtectionRelease(&PloverRundown);

    Status = PloverCreateDevice(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = PloverStartThread();
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(PloverDetachWorkItem);
        IoDeleteDevice(PloverDevice);
        return Status;
    }

    Status = NmrRegisterClient(&PloverCharacteristics, NULL, &PloverClientHandle);
    if (!NT_SUCCESS(Status)) {
        PloverStopThread();
        IoFreeWorkItem(PloverDetachWorkItem);
        IoDeleteDevice(PloverDevice);
    }

    return Status;
}
