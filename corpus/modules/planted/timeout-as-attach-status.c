// nmrfuzz: module
// summary: Provider that passes the status of a wait that has timed out, a success code, on to its client.
// provides: 1
// consumes: 0
// expect: bad-status
// rule: R50
// needs: the warm-up takes longer than the attach callback waits
// interleaving: yes
// hardness: 6 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SAMOVAR_POOL_TAG 'omaS'
#define SAMOVAR_WARM_UP_TIME (-50 * 1000 * 10) // 50 ms in 100 ns units, relative
#define SAMOVAR_PATIENCE (-60 * 1000 * 10)     // 60 ms

typedef struct _SAMOVAR_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Cups;
} SAMOVAR_CLIENT, *PSAMOVAR_CLIENT;

typedef struct _SAMOVAR_PROVIDER_DISPATCH {
    LONG(NTAPI *Pour)(_In_ PVOID ProviderBindingContext);
} SAMOVAR_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SamovarUnload;
static KSTART_ROUTINE SamovarThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SamovarAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SamovarDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SamovarCleanupBindingContext;

static const NPIID SamovarNpiId = { 0x4bc152a7, 0x54fe, 0x55da, { 0xae, 0x97, 0x6c, 0x7a, 0x15, 0x6f, 0xc4, 0x08 } };
static const NPI_MODULEID SamovarModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x2e176a34, 0x31aa, 0x5f44, { 0xaa, 0x0d, 0x71, 0xa6, 0xb6, 0x4a, 0x5f, 0xe0 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SamovarCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SamovarAttachClient,
    SamovarDetachClient,
    SamovarCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SamovarNpiId, &SamovarModuleId, 0, NULL }
};

static HANDLE SamovarProviderHandle;
static PKTHREAD SamovarThreadObject;
static KEVENT SamovarWarm; // Notification event.
static LONG SamovarTemperature;

static LONG NTAPI
SamovarPour(_In_ PVOID ProviderBindingContext)
{
    PSAMOVAR_CLIENT Client = (PSAMOVAR_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Cups);
}

static const SAMOVAR_PROVIDER_DISPATCH SamovarDispatch = { SamovarPour };

_Use_decl_annotations_
static VOID
SamovarThread(PVOID StartContext)
{
    LARGE_INTEGER Time;

    UNREFERENCED_PARAMETER(StartContext);

    Time.QuadPart = SAMOVAR_WARM_UP_TIME;
    KeDelayExecutionThread(KernelMode, FALSE, &Time);
    InterlockedExchange(&SamovarTemperature, 100);
    KeSetEvent(&SamovarWarm, IO_NO_INCREMENT, FALSE);
}

_Must_inspect_result_
static NTSTATUS
SamovarAwaitWarm(VOID)
{
    LARGE_INTEGER Patience;

    // Defect: STATUS_TIMEOUT is no error, and neither acceptance nor refusal of a client.
    Patience.QuadPart = SAMOVAR_PATIENCE;
    return KeWaitForSingleObject(&SamovarWarm, Executive, KernelMode, FALSE, &Patience);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SamovarAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSAMOVAR_CLIENT Client;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Status = SamovarAwaitWarm();
    if (Status != STATUS_SUCCESS) {
        return Status;
    }

    Client = (PSAMOVAR_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SAMOVAR_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SamovarDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SamovarDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SamovarCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SAMOVAR_POOL_TAG);
}

static VOID
SamovarAwaitThread(VOID)
{
    KeWaitForSingleObject(SamovarThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SamovarThreadObject);
}

_Use_decl_annotations_
static VOID
SamovarUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SamovarProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SamovarProviderHandle);
    }

    SamovarAwaitThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SamovarUnload;
    KeInitializeEvent(&SamovarWarm, NotificationEvent, FALSE);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SamovarThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SamovarThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);

    Status = NmrRegisterProvider(&SamovarCharacteristics, NULL, &SamovarProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SamovarAwaitThread();
    }

    return Status;
}
