// nmrfuzz: module
// summary: Client whose thread tests the pointer to its provider and then uses it, with nothing that keeps the provider.
// provides: 0
// consumes: 1
// expect: null-dereference, use-after-free, data-race
// rule: none
// needs: the provider goes away while a report is made
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TERN_POOL_TAG 'nreT'

typedef struct _TERN_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Reports;
    ULONGLONG LastReport; // interrupt time
} TERN_BINDING, *PTERN_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TernUnload;
static KSTART_ROUTINE TernThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN TernAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TernDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TernCleanupBindingContext;

static const NPIID TernNpiId = { 0xda73f4b0, 0xff48, 0x596a, { 0xa4, 0x2b, 0x9b, 0xb1, 0x16, 0x5d, 0x07, 0xcd } };
static const NPI_MODULEID TernModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3967748c, 0x05e4, 0x524c, { 0x9f, 0xf0, 0x99, 0xc2, 0x6b, 0x76, 0x42, 0xd6 } } }
};

static const NPI_CLIENT_CHARACTERISTICS TernCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TernAttachProvider,
    TernDetachProvider,
    TernCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TernNpiId, &TernModuleId, 0, NULL }
};

static HANDLE TernClientHandle;
static PKTHREAD TernThreadObject;
static KEVENT TernStop;
static KSEMAPHORE TernWork; // One count for each report that is due.
static LONG TernClaimed;    // 1: there is a provider, or one is being attached
static PTERN_BINDING TernCurrent;
static LONG TernTraced;

// The number of the next line in the log.
static VOID
TernTrace(VOID)
{
    InterlockedIncrement(&TernTraced);
}

// Reports to the provider of the day, if there is one.
static VOID
TernReport(VOID)
{
    TernTrace();
    // Defect: nothing keeps the provider, so the detach callback may clear the pointer after the test.
    if (TernCurrent != NULL) {
        TernCurrent->LastReport = KeQueryInterruptTime();
        TernCurrent->Reports++;
    }
    TernTrace();
}

_Use_decl_annotations_
static VOID
TernThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&TernWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&TernStop) != 0) {
            break;
        }
        TernReport();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TernAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTERN_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (InterlockedCompareExchange(&TernClaimed, 1, 0) != 0) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PTERN_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TERN_POOL_TAG);
    if (Binding == NULL) {
        InterlockedExchange(&TernClaimed, 0);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, TERN_POOL_TAG);
        InterlockedExchange(&TernClaimed, 0);
        return Status;
    }

    TernTrace();
    TernCurrent = Binding;
    KeReleaseSemaphore(&TernWork, IO_NO_INCREMENT, 2, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TernDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    TernTrace();
    TernCurrent = NULL;
    TernTrace();
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TernCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, TERN_POOL_TAG);
    InterlockedExchange(&TernClaimed, 0);
}

_Must_inspect_result_
static NTSTATUS
TernStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, TernThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&TernThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
TernStopThread(VOID)
{
    KeSetEvent(&TernStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&TernWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(TernThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(TernThreadObject);
}

_Use_decl_annotations_
static VOID
TernUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(TernClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TernClientHandle);
    }

    TernStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TernUnload;
    KeInitializeEvent(&TernStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&TernWork, 0, MAXLONG);

    Status = TernStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&TernCharacteristics, NULL, &TernClientHandle);
    if (!NT_SUCCESS(Status)) {
        TernStopThread();
    }

    return Status;
}
