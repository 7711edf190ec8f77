// nmrfuzz: module
// summary: Provider of two NPIs whose Unload deregisters both and waits for the first one only.
// provides: 2
// consumes: 0
// expect: unload-pending
// rule: R95, R91
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define THIMBLE_POOL_TAG 'mihT'

// What a client gets through the provider dispatch.
typedef struct _THIMBLE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Thimble)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} THIMBLE_PROVIDER_DISPATCH;

typedef struct _THIMBLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} THIMBLE_CLIENT, *PTHIMBLE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ThimbleUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ThimbleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ThimbleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ThimbleCleanupBindingContext;

static const NPIID ThimbleNpiId = { 0xd3c52861, 0x094c, 0x5b72, { 0x86, 0x05, 0xb1, 0x89, 0x89, 0x54, 0x1a, 0x27 } };

static const NPIID ThimbleMirrorNpiId =
    { 0x5ecd50c4, 0xb80d, 0x5b02, { 0x87, 0xe1, 0x69, 0xa0, 0x1f, 0xd5, 0x1c, 0xf5 } };

static const NPI_MODULEID ThimbleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x17b6e26a, 0x0ea4, 0x5ef7, { 0x9a, 0xb2, 0xd1, 0x2d, 0x91, 0x42, 0x8c, 0xa5 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ThimbleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ThimbleAttachClient,
    ThimbleDetachClient,
    ThimbleCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &ThimbleNpiId,
        &ThimbleModuleId,
        0,
        NULL
    }
};

static const NPI_PROVIDER_CHARACTERISTICS ThimbleMirrorCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ThimbleAttachClient,
    ThimbleDetachClient,
    ThimbleCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &ThimbleMirrorNpiId,
        &ThimbleModuleId,
        0,
        NULL
    }
};

static HANDLE ThimbleProviderHandle;
static HANDLE ThimbleMirrorHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
ThimbleCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PTHIMBLE_CLIENT Client = (PTHIMBLE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const THIMBLE_PROVIDER_DISPATCH ThimbleDispatch = { ThimbleCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
ThimbleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTHIMBLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTHIMBLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), THIMBLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ThimbleDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ThimbleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside ThimbleCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ThimbleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, THIMBLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ThimbleUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(ThimbleProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ThimbleProviderHandle);
    }

    // Defect: the second deregistration has a wait of its own.
    NmrDeregisterProvider(ThimbleMirrorHandle);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ThimbleUnload;

    Status = NmrRegisterProvider(&ThimbleCharacteristics, NULL, &ThimbleProviderHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&ThimbleMirrorCharacteristics, NULL, &ThimbleMirrorHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(ThimbleProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(ThimbleProviderHandle);
        }
    }
    return Status;
}
