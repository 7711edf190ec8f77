// nmrfuzz: module
// summary: Provider whose attach callbacks wake the thread before they have written what they ask it.
// provides: 1
// consumes: 0
// expect: null-dereference, use-after-free, data-race
// rule: none
// needs: the thread looks at the question before the callback has gone on
// interleaving: yes
// hardness: 2 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SKUA_POOL_TAG 'aukS'

typedef struct _SKUA_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SKUA_PROVIDER_DISPATCH;

typedef struct _SKUA_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Rank; // as the thread has written it
    ULONG RankTold;
} SKUA_CLIENT, *PSKUA_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SkuaUnload;
static KSTART_ROUTINE SkuaThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SkuaAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SkuaDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SkuaCleanupBindingContext;

static const NPIID SkuaNpiId = { 0xa2dcb5ec, 0x0d51, 0x511a, { 0x86, 0x3b, 0x72, 0x5a, 0x6a, 0x72, 0x1d, 0xf4 } };
static const NPI_MODULEID SkuaModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x970cb79a, 0x75bb, 0x56b7, { 0x92, 0x63, 0x3c, 0xf1, 0x7d, 0x12, 0xf1, 0x92 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SkuaCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SkuaAttachClient,
    SkuaDetachClient,
    SkuaCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SkuaNpiId, &SkuaModuleId, 0, NULL }
};

static HANDLE SkuaProviderHandle;
static PKTHREAD SkuaThreadObject;
static FAST_MUTEX SkuaMutex;
static KEVENT SkuaAsked;    // synchronization events
static KEVENT SkuaAnswered;
static KEVENT SkuaStop;
static PSKUA_CLIENT SkuaQuestion;
static ULONG SkuaAnswer;
static LONG SkuaTraced;

static ULONG NTAPI
SkuaVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SKUA_PROVIDER_DISPATCH SkuaDispatch = { SkuaVersion };

// The number of the next line in the log.
static VOID
SkuaTrace(VOID)
{
    InterlockedIncrement(&SkuaTraced);
}

_Use_decl_annotations_
static VOID
SkuaThread(PVOID StartContext)
{
    PSKUA_CLIENT Client;
    ULONG Ranks = 0;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&SkuaAsked, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SkuaStop) != 0) {
            break;
        }
        SkuaTrace();
        Client = SkuaQuestion;
        Client->Rank = ++Ranks;
        SkuaAnswer = Client->Rank;
        KeSetEvent(&SkuaAnswered, IO_NO_INCREMENT, FALSE);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SkuaAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSKUA_CLIENT Client;
    ULONG Rank;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSKUA_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SKUA_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    ExAcquireFastMutex(&SkuaMutex);
    KeSetEvent(&SkuaAsked, IO_NO_INCREMENT, FALSE);

    // Defect: the thread may be awake already.
    SkuaQuestion = Client;
    SkuaTrace();
    KeWaitForSingleObject(&SkuaAnswered, Executive, KernelMode, FALSE, NULL);
    Rank = SkuaAnswer;
    ExReleaseFastMutex(&SkuaMutex);
    Client->RankTold = Rank;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SkuaDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SkuaDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SkuaCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SKUA_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
SkuaStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SkuaThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SkuaThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
SkuaStopThread(VOID)
{
    KeSetEvent(&SkuaStop, IO_NO_INCREMENT, FALSE);
    KeSetEvent(&SkuaAsked, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(SkuaThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SkuaThreadObject);
}

_Use_decl_annotations_
static VOID
SkuaUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SkuaProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SkuaProviderHandle);
    }

    SkuaStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SkuaUnload;
    ExInitializeFastMutex(&SkuaMutex);
    KeInitializeEvent(&SkuaStop, NotificationEvent, FALSE);
    KeInitializeEvent(&SkuaAsked, SynchronizationEvent, FALSE);
    KeInitializeEvent(&SkuaAnswered, SynchronizationEvent, FALSE);

    Status = SkuaStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SkuaCharacteristics, NULL, &SkuaProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SkuaStopThread();
    }

    return Status;
}
