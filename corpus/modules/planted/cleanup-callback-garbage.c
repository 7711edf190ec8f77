// nmrfuzz: module
// summary: Provider that fills in its characteristics member by member and forgets the cleanup callback.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R10
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define HATCH_POOL_TAG 'ctaH'

// What a client gets through the provider dispatch.
typedef struct _HATCH_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Hatch)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} HATCH_PROVIDER_DISPATCH;

typedef struct _HATCH_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} HATCH_CLIENT, *PHATCH_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HatchUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN HatchAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN HatchDetachClient;
NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN HatchCleanupBindingContext;

static const NPIID HatchNpiId = { 0xcb3a24a9, 0xf521, 0x5558, { 0x91, 0x00, 0x86, 0x08, 0x9e, 0x46, 0xda, 0x3f } };

static const NPI_MODULEID HatchModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4d623248, 0x6d9c, 0x5eb9, { 0xb9, 0xad, 0xd1, 0xa3, 0x36, 0x19, 0xda, 0x7e } } }
};

static NPI_PROVIDER_CHARACTERISTICS *HatchCharacteristics;

static HANDLE HatchProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
HatchCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PHATCH_CLIENT Client = (PHATCH_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const HATCH_PROVIDER_DISPATCH HatchDispatch = { HatchCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
HatchAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PHATCH_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PHATCH_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), HATCH_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &HatchDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HatchDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside HatchCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
VOID NTAPI
HatchCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, HATCH_POOL_TAG);
}

_Use_decl_annotations_
static VOID
HatchUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(HatchProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(HatchProviderHandle);
    }
    ExFreePoolWithTag(HatchCharacteristics, HATCH_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HatchUnload;

    HatchCharacteristics = (NPI_PROVIDER_CHARACTERISTICS *)ExAllocatePoolWithTag(
        NonPagedPoolNx,
        sizeof(*HatchCharacteristics),
        HATCH_POOL_TAG);
    if (HatchCharacteristics == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Defect: the memory is not zeroed, and ProviderCleanupBindingContext is not among the members that are set.
    HatchCharacteristics->Version = 0;
    HatchCharacteristics->Length = sizeof(*HatchCharacteristics);
    HatchCharacteristics->ProviderAttachClient = HatchAttachClient;
    HatchCharacteristics->ProviderDetachClient = HatchDetachClient;
    RtlZeroMemory(&HatchCharacteristics->ProviderRegistrationInstance, sizeof(NPI_REGISTRATION_INSTANCE));
    HatchCharacteristics->ProviderRegistrationInstance.Size = sizeof(NPI_REGISTRATION_INSTANCE);
    HatchCharacteristics->ProviderRegistrationInstance.NpiId = &HatchNpiId;
    HatchCharacteristics->ProviderRegistrationInstance.ModuleId = &HatchModuleId;

    Status = NmrRegisterProvider(HatchCharacteristics, NULL, &HatchProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(HatchCharacteristics, HATCH_POOL_TAG);
    }
    return Status;
}
