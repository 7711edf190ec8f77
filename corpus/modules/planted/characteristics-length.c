// nmrfuzz: module
// summary: Provider whose characteristics have the length of another structure.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R2
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CAIRN_POOL_TAG 'riaC'

// What a client gets through the provider dispatch.
typedef struct _CAIRN_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Cairn)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} CAIRN_PROVIDER_DISPATCH;

typedef struct _CAIRN_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} CAIRN_CLIENT, *PCAIRN_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CairnUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN CairnAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CairnDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CairnCleanupBindingContext;

static const NPIID CairnNpiId = { 0x231d8514, 0xbce1, 0x51e2, { 0xad, 0x31, 0x94, 0x88, 0x42, 0xb1, 0xc3, 0xc1 } };

static const NPI_MODULEID CairnModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe0369efe, 0xfb0a, 0x5df2, { 0xa2, 0x74, 0x67, 0x03, 0x27, 0x5f, 0xf6, 0x09 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CairnCharacteristics = {
    0,
    sizeof(NPI_REGISTRATION_INSTANCE), // Defect: the inner structure's size.
    CairnAttachClient,
    CairnDetachClient,
    CairnCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &CairnNpiId,
        &CairnModuleId,
        0,
        NULL
    }
};

static HANDLE CairnProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
CairnCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PCAIRN_CLIENT Client = (PCAIRN_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const CAIRN_PROVIDER_DISPATCH CairnDispatch = { CairnCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
CairnAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCAIRN_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PCAIRN_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), CAIRN_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &CairnDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CairnDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside CairnCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CairnCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, CAIRN_POOL_TAG);
}

_Use_decl_annotations_
static VOID
CairnUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(CairnProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CairnProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CairnUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&CairnCharacteristics, NULL, &CairnProviderHandle);
}
