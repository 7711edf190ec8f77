// nmrfuzz: module
// summary: Provider whose Unload registers once more to see whether its clients have gone.
// provides: 1
// consumes: 0
// expect: unload-registered
// rule: R30
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define MANTLE_POOL_TAG 'tnaM'

// What a client gets through the provider dispatch.
typedef struct _MANTLE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Mantle)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} MANTLE_PROVIDER_DISPATCH;

typedef struct _MANTLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} MANTLE_CLIENT, *PMANTLE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MantleUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN MantleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN MantleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN MantleCleanupBindingContext;

static const NPIID MantleNpiId = { 0x6ac8c398, 0xa11c, 0x59d8, { 0x90, 0x10, 0xe3, 0x0d, 0x19, 0xb1, 0x6a, 0x73 } };

static const NPI_MODULEID MantleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x47e3099f, 0x58ce, 0x503a, { 0x8d, 0x0e, 0x0c, 0x43, 0x34, 0xf6, 0x29, 0xbd } } }
};

static const NPI_PROVIDER_CHARACTERISTICS MantleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    MantleAttachClient,
    MantleDetachClient,
    MantleCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &MantleNpiId,
        &MantleModuleId,
        0,
        NULL
    }
};

static HANDLE MantleProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
MantleCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PMANTLE_CLIENT Client = (PMANTLE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const MANTLE_PROVIDER_DISPATCH MantleDispatch = { MantleCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
MantleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PMANTLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PMANTLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), MANTLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &MantleDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MantleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside MantleCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MantleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, MANTLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
MantleUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(MantleProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(MantleProviderHandle);
    }

    // Defect: a registration that nothing ends any more.
    NmrRegisterProvider(&MantleCharacteristics, NULL, &MantleProviderHandle);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MantleUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&MantleCharacteristics, NULL, &MantleProviderHandle);
}
