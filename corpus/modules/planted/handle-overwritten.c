// nmrfuzz: module
// summary: Provider of two NPIs that keeps both registration handles in one variable.
// provides: 2
// consumes: 0
// expect: unload-registered
// rule: R28
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LARCH_POOL_TAG 'craL'

// What a client gets through the provider dispatch.
typedef struct _LARCH_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Larch)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} LARCH_PROVIDER_DISPATCH;

typedef struct _LARCH_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} LARCH_CLIENT, *PLARCH_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LarchUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN LarchAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LarchDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN LarchCleanupBindingContext;

static const NPIID LarchNpiId = { 0xcdf76ee8, 0xf6ea, 0x59f1, { 0xba, 0xfb, 0xb9, 0x44, 0x39, 0x76, 0x6d, 0x5a } };

static const NPIID LarchMirrorNpiId =
    { 0x9fc1f0b1, 0x7b79, 0x5e6a, { 0xa3, 0xa6, 0x64, 0xb8, 0xcc, 0x75, 0xac, 0x2c } };

static const NPI_MODULEID LarchModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc27b1c0c, 0x113e, 0x54d7, { 0x92, 0x09, 0xfd, 0xe4, 0x4c, 0xfc, 0x26, 0x1c } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LarchCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LarchAttachClient,
    LarchDetachClient,
    LarchCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &LarchNpiId,
        &LarchModuleId,
        0,
        NULL
    }
};

static const NPI_PROVIDER_CHARACTERISTICS LarchMirrorCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LarchAttachClient,
    LarchDetachClient,
    LarchCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &LarchMirrorNpiId,
        &LarchModuleId,
        0,
        NULL
    }
};

static HANDLE LarchProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
LarchCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PLARCH_CLIENT Client = (PLARCH_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const LARCH_PROVIDER_DISPATCH LarchDispatch = { LarchCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
LarchAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLARCH_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PLARCH_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), LARCH_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &LarchDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LarchDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside LarchCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LarchCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, LARCH_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LarchUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(LarchProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LarchProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE First;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LarchUnload;

    Status = NmrRegisterProvider(&LarchCharacteristics, NULL, &LarchProviderHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // Defect: from here on nothing names the first registration.
    First = LarchProviderHandle;
    Status = NmrRegisterProvider(&LarchMirrorCharacteristics, NULL, &LarchProviderHandle);
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterProvider(First) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(First);
        }
    }
    return Status;
}
