// nmrfuzz: module
// summary: Provider whose thread deregisters it by a handle that DriverEntry stores after the registration has returned.
// provides: 1
// consumes: 0
// expect: bad-handle, data-race
// rule: none
// needs: the thread gives up before the handle has been stored
// interleaving: yes
// hardness: 1 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define REDSHANK_POOL_TAG 'sdeR'

typedef struct _REDSHANK_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} REDSHANK_PROVIDER_DISPATCH;

typedef struct _REDSHANK_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} REDSHANK_CLIENT, *PREDSHANK_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RedshankUnload;
static KSTART_ROUTINE RedshankThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN RedshankAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN RedshankDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN RedshankCleanupBindingContext;

static const NPIID RedshankNpiId = { 0x2a7c2e1d, 0xa385, 0x575b, { 0xa5, 0x61, 0x01, 0x25, 0xfc, 0xc0, 0x02, 0xa7 } };
static const NPI_MODULEID RedshankModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x65413cd9, 0x92df, 0x50b2, { 0x89, 0x2a, 0xe8, 0x1a, 0x5a, 0x0d, 0x34, 0xba } } }
};

static const NPI_PROVIDER_CHARACTERISTICS RedshankCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    RedshankAttachClient,
    RedshankDetachClient,
    RedshankCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RedshankNpiId, &RedshankModuleId, 0, NULL }
};

static HANDLE RedshankProviderHandle;
static PKTHREAD RedshankThreadObject;
static KEVENT RedshankWake; // The first client is attached, or the thread shall end.
static LONG RedshankClients;
static BOOLEAN RedshankGaveUp; // by the thread, for Unload, which waits for the thread first
static LONG RedshankTraced;

static ULONG NTAPI
RedshankVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const REDSHANK_PROVIDER_DISPATCH RedshankDispatch = { RedshankVersion };

// The number of the next line in the log.
static VOID
RedshankTrace(VOID)
{
    InterlockedIncrement(&RedshankTraced);
}

// Serves one client for all times: gives up the registration when it has come.
_Use_decl_annotations_
static VOID
RedshankThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    KeWaitForSingleObject(&RedshankWake, Executive, KernelMode, FALSE, NULL);
    if (InterlockedCompareExchange(&RedshankClients, 0, 0) != 0) {
        RedshankTrace();

        // Defect: the client may have come while DriverEntry was still inside of the registration.
        RedshankGaveUp = NmrDeregisterProvider(RedshankProviderHandle) == STATUS_PENDING;
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RedshankAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PREDSHANK_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PREDSHANK_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), REDSHANK_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &RedshankDispatch;

    InterlockedIncrement(&RedshankClients);
    KeSetEvent(&RedshankWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RedshankDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RedshankCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, REDSHANK_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
RedshankStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RedshankThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RedshankThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
RedshankStopThread(VOID)
{
    KeSetEvent(&RedshankWake, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(RedshankThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(RedshankThreadObject);
}

_Use_decl_annotations_
static VOID
RedshankUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    RedshankStopThread();

    if (RedshankGaveUp || NmrDeregisterProvider(RedshankProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(RedshankProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE Handle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RedshankUnload;
    KeInitializeEvent(&RedshankWake, SynchronizationEvent, FALSE);

    Status = RedshankStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&RedshankCharacteristics, NULL, &Handle);
    if (!NT_SUCCESS(Status)) {
        RedshankStopThread();
        return Status;
    }

    RedshankProviderHandle = Handle;
    RedshankTrace();
    return STATUS_SUCCESS;
}
