// nmrfuzz: module
// summary: Provider that has no use for its registration handle and asks for none.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R20
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define VANE_POOL_TAG 'enaV'

// What a client gets through the provider dispatch.
typedef struct _VANE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Vane)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} VANE_PROVIDER_DISPATCH;

typedef struct _VANE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} VANE_CLIENT, *PVANE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD VaneUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN VaneAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN VaneDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN VaneCleanupBindingContext;

static const NPIID VaneNpiId = { 0x0ef0d616, 0x787e, 0x5412, { 0xa1, 0x0a, 0x61, 0xe4, 0x27, 0x71, 0x76, 0x3e } };

static const NPI_MODULEID VaneModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x96125801, 0x0d7b, 0x5ed8, { 0xb5, 0x84, 0xfe, 0x68, 0x3d, 0x1a, 0xb8, 0x33 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS VaneCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    VaneAttachClient,
    VaneDetachClient,
    VaneCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &VaneNpiId,
        &VaneModuleId,
        0,
        NULL
    }
};

static HANDLE VaneProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
VaneCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PVANE_CLIENT Client = (PVANE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const VANE_PROVIDER_DISPATCH VaneDispatch = { VaneCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
VaneAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PVANE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PVANE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), VANE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &VaneDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VaneDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside VaneCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
VaneCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, VANE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
VaneUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(VaneProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(VaneProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = VaneUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    // Defect: without the handle nothing can be ended.
    return NmrRegisterProvider(&VaneCharacteristics, NULL, NULL);
}
