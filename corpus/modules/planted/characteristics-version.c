// nmrfuzz: module
// summary: Provider that puts the version of its own protocol into its characteristics.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R1
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define OBELISK_POOL_TAG 'lebO'

// What a client gets through the provider dispatch.
typedef struct _OBELISK_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Obelisk)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} OBELISK_PROVIDER_DISPATCH;

typedef struct _OBELISK_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} OBELISK_CLIENT, *POBELISK_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ObeliskUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ObeliskAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ObeliskDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ObeliskCleanupBindingContext;

static const NPIID ObeliskNpiId = { 0x491dd936, 0x613c, 0x5fbd, { 0xa6, 0xa1, 0x74, 0x10, 0xfe, 0xac, 0x14, 0x29 } };

static const NPI_MODULEID ObeliskModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0aadd34f, 0xcf89, 0x59f1, { 0xa1, 0x47, 0xfc, 0x90, 0x08, 0x7f, 0xe1, 0x6e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ObeliskCharacteristics = {
    1, // Defect: the version of the module's protocol, where NMR has its own.
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ObeliskAttachClient,
    ObeliskDetachClient,
    ObeliskCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &ObeliskNpiId,
        &ObeliskModuleId,
        0,
        NULL
    }
};

static HANDLE ObeliskProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
ObeliskCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    POBELISK_CLIENT Client = (POBELISK_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const OBELISK_PROVIDER_DISPATCH ObeliskDispatch = { ObeliskCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
ObeliskAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    POBELISK_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (POBELISK_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), OBELISK_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ObeliskDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ObeliskDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside ObeliskCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ObeliskCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, OBELISK_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ObeliskUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(ObeliskProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ObeliskProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ObeliskUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&ObeliskCharacteristics, NULL, &ObeliskProviderHandle);
}
