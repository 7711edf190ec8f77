// nmrfuzz: module
// summary: Provider whose Unload waits once more to be on the safe side.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R102
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define RAFTER_POOL_TAG 'tfaR'

// What a client gets through the provider dispatch.
typedef struct _RAFTER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Rafter)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} RAFTER_PROVIDER_DISPATCH;

typedef struct _RAFTER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} RAFTER_CLIENT, *PRAFTER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RafterUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN RafterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN RafterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN RafterCleanupBindingContext;

static const NPIID RafterNpiId = { 0xbc16c45b, 0xf6a6, 0x537b, { 0xb6, 0x48, 0x89, 0x03, 0x5b, 0xab, 0xf0, 0x48 } };

static const NPI_MODULEID RafterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xecf50822, 0xf5ce, 0x596c, { 0xa5, 0x1b, 0x9c, 0x2b, 0xf9, 0x40, 0x47, 0xe2 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS RafterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    RafterAttachClient,
    RafterDetachClient,
    RafterCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &RafterNpiId,
        &RafterModuleId,
        0,
        NULL
    }
};

static HANDLE RafterProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
RafterCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PRAFTER_CLIENT Client = (PRAFTER_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const RAFTER_PROVIDER_DISPATCH RafterDispatch = { RafterCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
RafterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PRAFTER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PRAFTER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), RAFTER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &RafterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RafterDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside RafterCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RafterCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, RAFTER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
RafterUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(RafterProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(RafterProviderHandle);
        // Defect: the first wait has closed the registration.
        NmrWaitForProviderDeregisterComplete(RafterProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RafterUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&RafterCharacteristics, NULL, &RafterProviderHandle);
}
