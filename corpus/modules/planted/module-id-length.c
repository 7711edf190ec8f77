// nmrfuzz: module
// summary: Provider whose module identifier says that it has no length.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R6
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FLINT_POOL_TAG 'nilF'

// What a client gets through the provider dispatch.
typedef struct _FLINT_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Flint)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} FLINT_PROVIDER_DISPATCH;

typedef struct _FLINT_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} FLINT_CLIENT, *PFLINT_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FlintUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN FlintAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN FlintDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN FlintCleanupBindingContext;

static const NPIID FlintNpiId = { 0x885db8bb, 0xce9f, 0x55de, { 0x81, 0x38, 0xa7, 0xf0, 0x96, 0x52, 0xc9, 0x4c } };

static const NPI_MODULEID FlintModuleId = {
    0, // Defect: the length of the structure is due.
    MIT_GUID,
    { { 0x0fd3a748, 0x3f9f, 0x50da, { 0x8b, 0x70, 0x87, 0x1d, 0xf4, 0x9d, 0xec, 0x6a } } }
};

static const NPI_PROVIDER_CHARACTERISTICS FlintCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    FlintAttachClient,
    FlintDetachClient,
    FlintCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &FlintNpiId,
        &FlintModuleId,
        0,
        NULL
    }
};

static HANDLE FlintProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
FlintCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PFLINT_CLIENT Client = (PFLINT_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const FLINT_PROVIDER_DISPATCH FlintDispatch = { FlintCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
FlintAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFLINT_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PFLINT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), FLINT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &FlintDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FlintDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside FlintCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FlintCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, FLINT_POOL_TAG);
}

_Use_decl_annotations_
static VOID
FlintUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(FlintProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(FlintProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FlintUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&FlintCharacteristics, NULL, &FlintProviderHandle);
}
