// nmrfuzz: module
// summary: Provider without a detach callback, since it never calls its clients.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R9
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GABLE_POOL_TAG 'lbaG'

// What a client gets through the provider dispatch.
typedef struct _GABLE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Gable)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} GABLE_PROVIDER_DISPATCH;

typedef struct _GABLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} GABLE_CLIENT, *PGABLE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GableUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN GableAttachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GableCleanupBindingContext;

static const NPIID GableNpiId = { 0x8e0db77f, 0x09fc, 0x5022, { 0xaa, 0xaa, 0x14, 0xab, 0x96, 0x77, 0x42, 0xc4 } };

static const NPI_MODULEID GableModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x33bc3028, 0xda69, 0x516f, { 0x81, 0xdc, 0xfc, 0x3c, 0xf1, 0xb3, 0x68, 0x6a } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GableCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GableAttachClient,
    NULL, // Defect: a side without calls has to answer all the same.
    GableCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &GableNpiId,
        &GableModuleId,
        0,
        NULL
    }
};

static HANDLE GableProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
GableCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PGABLE_CLIENT Client = (PGABLE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const GABLE_PROVIDER_DISPATCH GableDispatch = { GableCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
GableAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGABLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PGABLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GABLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GableDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GableCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, GABLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GableUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(GableProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GableProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GableUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&GableCharacteristics, NULL, &GableProviderHandle);
}
