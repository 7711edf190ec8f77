// nmrfuzz: module
// summary: Provider whose attach callback waits for a warm-up thread, for a limited time, and declines after that.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// The wait depends on a thread that owes nothing to the registrar, so it ends; and it is bounded all the same. A wait
// that timed out has a success code, STATUS_TIMEOUT, which is no answer to a client.

#include <ntddk.h>
#include <netioddk.h>

#define KETTLE_POOL_TAG 'tteK'
#define KETTLE_WARM_UP_TIME (-50 * 1000 * 10) // 50 ms in 100 ns units, relative
#define KETTLE_PATIENCE (-60 * 1000 * 10)     // 60 ms

typedef struct _KETTLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Cups;
} KETTLE_CLIENT, *PKETTLE_CLIENT;

typedef struct _KETTLE_PROVIDER_DISPATCH {
    LONG(NTAPI *Pour)(_In_ PVOID ProviderBindingContext);
} KETTLE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD KettleUnload;
static KSTART_ROUTINE KettleThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN KettleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN KettleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN KettleCleanupBindingContext;

static const NPIID KettleNpiId = { 0x282bb164, 0x7805, 0x5b14, { 0xbe, 0x52, 0x57, 0x7c, 0x04, 0x11, 0x61, 0x37 } };
static const NPI_MODULEID KettleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1b97198e, 0xd086, 0x5994, { 0xa0, 0xd4, 0xa5, 0x14, 0xb3, 0x14, 0xd7, 0x4e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS KettleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    KettleAttachClient,
    KettleDetachClient,
    KettleCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &KettleNpiId, &KettleModuleId, 0, NULL }
};

static HANDLE KettleProviderHandle;
static PKTHREAD KettleThreadObject;
static KEVENT KettleWarm; // Notification event.
static LONG KettleTemperature;

static LONG NTAPI
KettlePour(_In_ PVOID ProviderBindingContext)
{
    PKETTLE_CLIENT Client = (PKETTLE_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Cups);
}

static const KETTLE_PROVIDER_DISPATCH KettleDispatch = { KettlePour };

_Use_decl_annotations_
static VOID
KettleThread(PVOID StartContext)
{
    LARGE_INTEGER Time;

    UNREFERENCED_PARAMETER(StartContext);

    Time.QuadPart = KETTLE_WARM_UP_TIME;
    KeDelayExecutionThread(KernelMode, FALSE, &Time);
    InterlockedExchange(&KettleTemperature, 100);
    KeSetEvent(&KettleWarm, IO_NO_INCREMENT, FALSE);
}

_Must_inspect_result_
static NTSTATUS
KettleAwaitWarm(VOID)
{
    LARGE_INTEGER Patience;
    NTSTATUS Status;

    Patience.QuadPart = KETTLE_PATIENCE;
    Status = KeWaitForSingleObject(&KettleWarm, Executive, KernelMode, FALSE, &Patience);
    return Status == STATUS_SUCCESS ? STATUS_SUCCESS : STATUS_NOINTERFACE;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KettleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PKETTLE_CLIENT Client;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Status = KettleAwaitWarm();
    if (Status != STATUS_SUCCESS) {
        return Status;
    }

    Client = (PKETTLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), KETTLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &KettleDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KettleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
KettleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, KETTLE_POOL_TAG);
}

static VOID
KettleAwaitThread(VOID)
{
    KeWaitForSingleObject(KettleThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(KettleThreadObject);
}

_Use_decl_annotations_
static VOID
KettleUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(KettleProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(KettleProviderHandle);
    }

    KettleAwaitThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = KettleUnload;
    KeInitializeEvent(&KettleWarm, NotificationEvent, FALSE);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, KettleThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&KettleThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);

    Status = NmrRegisterProvider(&KettleCharacteristics, NULL, &KettleProviderHandle);
    if (!NT_SUCCESS(Status)) {
        KettleAwaitThread();
    }

    return Status;
}
