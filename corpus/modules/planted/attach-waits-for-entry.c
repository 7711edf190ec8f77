// nmrfuzz: module
// summary: Provider whose attach callback waits until DriverEntry is through.
// provides: 1
// consumes: 0
// expect: deadlock
// rule: R57
// needs: a client is there before the provider registers
// interleaving: no
// hardness: 1 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FENNEL_POOL_TAG 'nneF'

// What a client gets through the provider dispatch.
typedef struct _FENNEL_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Fennel)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} FENNEL_PROVIDER_DISPATCH;

typedef struct _FENNEL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} FENNEL_CLIENT, *PFENNEL_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FennelUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN FennelAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN FennelDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN FennelCleanupBindingContext;

static const NPIID FennelNpiId = { 0xcb369738, 0x9d81, 0x5f2b, { 0x82, 0xb1, 0x1b, 0x0e, 0x05, 0x27, 0x6a, 0xa0 } };

static const NPI_MODULEID FennelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3780fb6f, 0xd6d3, 0x5be9, { 0xb7, 0xfc, 0x51, 0x1e, 0xab, 0xce, 0x96, 0x26 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS FennelCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    FennelAttachClient,
    FennelDetachClient,
    FennelCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &FennelNpiId,
        &FennelModuleId,
        0,
        NULL
    }
};

static HANDLE FennelProviderHandle;
static KEVENT FennelReady;

_Must_inspect_result_
static NTSTATUS NTAPI
FennelCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PFENNEL_CLIENT Client = (PFENNEL_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const FENNEL_PROVIDER_DISPATCH FennelDispatch = { FennelCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
FennelAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFENNEL_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    // Defect: DriverEntry goes on when Register returns, and that may be after this callback.
    KeWaitForSingleObject(&FennelReady, Executive, KernelMode, FALSE, NULL);

    Client = (PFENNEL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), FENNEL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &FennelDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FennelDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside FennelCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FennelCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, FENNEL_POOL_TAG);
}

_Use_decl_annotations_
static VOID
FennelUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(FennelProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(FennelProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FennelUnload;

    KeInitializeEvent(&FennelReady, NotificationEvent, FALSE);
    Status = NmrRegisterProvider(&FennelCharacteristics, NULL, &FennelProviderHandle);
    KeSetEvent(&FennelReady, IO_NO_INCREMENT, FALSE);
    return Status;
}
