// nmrfuzz: module
// summary: Provider that has no NPI identifier in one of its builds.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R5
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define DOWEL_POOL_TAG 'ewoD'

// What a client gets through the provider dispatch.
typedef struct _DOWEL_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Dowel)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} DOWEL_PROVIDER_DISPATCH;

typedef struct _DOWEL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} DOWEL_CLIENT, *PDOWEL_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DowelUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN DowelAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN DowelDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN DowelCleanupBindingContext;

static const NPI_MODULEID DowelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf84e0242, 0x28d5, 0x540a, { 0xb1, 0x57, 0x3e, 0x3d, 0x6e, 0x30, 0x14, 0x05 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS DowelCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    DowelAttachClient,
    DowelDetachClient,
    DowelCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        NULL, // Defect: left out with the feature that it belongs to.
        &DowelModuleId,
        0,
        NULL
    }
};

static HANDLE DowelProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
DowelCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PDOWEL_CLIENT Client = (PDOWEL_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const DOWEL_PROVIDER_DISPATCH DowelDispatch = { DowelCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
DowelAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PDOWEL_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PDOWEL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), DOWEL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &DowelDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DowelDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside DowelCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DowelCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, DOWEL_POOL_TAG);
}

_Use_decl_annotations_
static VOID
DowelUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(DowelProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(DowelProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DowelUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&DowelCharacteristics, NULL, &DowelProviderHandle);
}
