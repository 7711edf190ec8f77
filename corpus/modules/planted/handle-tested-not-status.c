// nmrfuzz: module
// summary: Provider that ignores the status of its registration and asks the handle variable instead.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R22, R21
// needs: the registration fails and leaves something in the variable
// interleaving: no
// hardness: 102 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define NOZZLE_POOL_TAG 'zzoN'

// What a client gets through the provider dispatch.
typedef struct _NOZZLE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Nozzle)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} NOZZLE_PROVIDER_DISPATCH;

typedef struct _NOZZLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} NOZZLE_CLIENT, *PNOZZLE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD NozzleUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN NozzleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN NozzleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN NozzleCleanupBindingContext;

static const NPIID NozzleNpiId = { 0x37a67d5d, 0x279d, 0x5b00, { 0x8c, 0xfd, 0x7c, 0x09, 0x67, 0xc6, 0x22, 0x76 } };

static const NPI_MODULEID NozzleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0214166f, 0xa078, 0x55fd, { 0xa9, 0x99, 0x71, 0xb1, 0xa5, 0x03, 0x4c, 0xfc } } }
};

static const NPI_PROVIDER_CHARACTERISTICS NozzleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    NozzleAttachClient,
    NozzleDetachClient,
    NozzleCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &NozzleNpiId,
        &NozzleModuleId,
        0,
        NULL
    }
};

static HANDLE NozzleProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
NozzleCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PNOZZLE_CLIENT Client = (PNOZZLE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const NOZZLE_PROVIDER_DISPATCH NozzleDispatch = { NozzleCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
NozzleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PNOZZLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PNOZZLE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), NOZZLE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &NozzleDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
NozzleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside NozzleCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
NozzleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, NOZZLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
NozzleUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    if (NozzleProviderHandle == NULL) {
        return;
    }
    Status = NmrDeregisterProvider(NozzleProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(NozzleProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = NozzleUnload;

    // Defect: after a failure nothing is promised about the variable, NULL least of all.
    NmrRegisterProvider(&NozzleCharacteristics, NULL, &NozzleProviderHandle);
    return STATUS_SUCCESS;
}
