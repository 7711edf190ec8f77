// nmrfuzz: module
// summary: Provider that wants to think about a client and returns STATUS_PENDING.
// provides: 1
// consumes: 0
// expect: bad-status
// rule: R50
// needs: a client comes
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BRAMBLE_POOL_TAG 'marB'

// What a client gets through the provider dispatch.
typedef struct _BRAMBLE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Bramble)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} BRAMBLE_PROVIDER_DISPATCH;

typedef struct _BRAMBLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} BRAMBLE_CLIENT, *PBRAMBLE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BrambleUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN BrambleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BrambleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BrambleCleanupBindingContext;

static const NPIID BrambleNpiId = { 0x1742c4f8, 0x8d7c, 0x56c1, { 0x9d, 0x64, 0xee, 0xa2, 0x88, 0xce, 0x34, 0x0c } };

static const NPI_MODULEID BrambleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x324c0bee, 0xf31d, 0x5f83, { 0x99, 0x94, 0xf2, 0x04, 0x95, 0xbd, 0x1b, 0x0c } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BrambleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BrambleAttachClient,
    BrambleDetachClient,
    BrambleCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &BrambleNpiId,
        &BrambleModuleId,
        0,
        NULL
    }
};

static HANDLE BrambleProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
BrambleCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PBRAMBLE_CLIENT Client = (PBRAMBLE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const BRAMBLE_PROVIDER_DISPATCH BrambleDispatch = { BrambleCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
BrambleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBRAMBLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PBRAMBLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), BRAMBLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &BrambleDispatch;
    // Defect: an attach is decided when the callback returns.
    ExFreePoolWithTag(Client, BRAMBLE_POOL_TAG);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BrambleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside BrambleCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BrambleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, BRAMBLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BrambleUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(BrambleProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BrambleProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BrambleUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&BrambleCharacteristics, NULL, &BrambleProviderHandle);
}
