// nmrfuzz: module
// summary: Client whose thread and whose Unload take the same two mutexes in opposite order.
// provides: 0
// consumes: 1
// expect: deadlock
// rule: none
// needs: the thread works on a newly attached binding while Unload writes the final statistics
// interleaving: yes
// hardness: 376 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SURVEY_POOL_TAG 'vruS'

typedef struct _SURVEY_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
} SURVEY_BINDING, *PSURVEY_BINDING;

typedef struct _SURVEY_STATISTICS {
    ULONG Surveyed;
    ULONG Reported;
} SURVEY_STATISTICS;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SurveyUnload;
static KSTART_ROUTINE SurveyThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN SurveyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SurveyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SurveyCleanupBindingContext;

static const NPIID SurveyNpiId = { 0x9f7f06af, 0xa355, 0x5b54, { 0x9d, 0x4d, 0xb6, 0xfb, 0x51, 0x8b, 0x6b, 0x05 } };
static const NPI_MODULEID SurveyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x01300c5c, 0xe97f, 0x5ff5, { 0x8e, 0xb5, 0x52, 0x5c, 0x04, 0x3e, 0xbd, 0x91 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SurveyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SurveyAttachProvider,
    SurveyDetachProvider,
    SurveyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SurveyNpiId, &SurveyModuleId, 0, NULL }
};

static HANDLE SurveyClientHandle;
static PKTHREAD SurveyThreadObject;
static KEVENT SurveyStop;
static KEVENT SurveyWork;

// Order: SurveyPlanMutex before SurveyStatisticsMutex.
static KMUTEX SurveyPlanMutex;
static KMUTEX SurveyStatisticsMutex;
_Guarded_by_(SurveyPlanMutex) static ULONG SurveyPlanned;
_Guarded_by_(SurveyStatisticsMutex) static SURVEY_STATISTICS SurveyStatistics;

static VOID
SurveyLock(_Inout_ PKMUTEX Mutex)
{
    KeWaitForSingleObject(Mutex, Executive, KernelMode, FALSE, NULL);
}

static VOID
SurveyUnlock(_Inout_ PKMUTEX Mutex)
{
    KeReleaseMutex(Mutex, FALSE);
}

_Use_decl_annotations_
static VOID
SurveyThread(PVOID StartContext)
{
    PVOID Events[] = { &SurveyStop, &SurveyWork };

    UNREFERENCED_PARAMETER(StartContext);

    while (KeWaitForMultipleObjects(
               ARRAYSIZE(Events), Events, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0) {
        SurveyLock(&SurveyPlanMutex);
        SurveyLock(&SurveyStatisticsMutex);
        SurveyStatistics.Surveyed += SurveyPlanned;
        SurveyPlanned = 0;
        SurveyUnlock(&SurveyStatisticsMutex);
        SurveyUnlock(&SurveyPlanMutex);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SurveyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSURVEY_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSURVEY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SURVEY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SURVEY_POOL_TAG);
        return Status;
    }

    SurveyLock(&SurveyPlanMutex);
    SurveyPlanned++;
    SurveyUnlock(&SurveyPlanMutex);

    KeSetEvent(&SurveyWork, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SurveyDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SurveyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SURVEY_POOL_TAG);
}

static VOID
SurveyStopThread(VOID)
{
    KeSetEvent(&SurveyStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(SurveyThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SurveyThreadObject);
}

_Use_decl_annotations_
static VOID
SurveyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(SurveyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SurveyClientHandle);
    }

    // Defect: the reverse of the order above, while the thread is still at work.
    SurveyLock(&SurveyStatisticsMutex);
    SurveyLock(&SurveyPlanMutex);
    SurveyStatistics.Reported = SurveyStatistics.Surveyed + SurveyPlanned;
    SurveyUnlock(&SurveyPlanMutex);
    SurveyUnlock(&SurveyStatisticsMutex);

    SurveyStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SurveyUnload;

    KeInitializeEvent(&SurveyStop, NotificationEvent, FALSE);
    KeInitializeEvent(&SurveyWork, SynchronizationEvent, FALSE);
    KeInitializeMutex(&SurveyPlanMutex, 0);
    KeInitializeMutex(&SurveyStatisticsMutex, 0);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SurveyThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SurveyThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);

    Status = NmrRegisterClient(&SurveyCharacteristics, NULL, &SurveyClientHandle);
    if (!NT_SUCCESS(Status)) {
        SurveyStopThread();
    }

    return Status;
}
