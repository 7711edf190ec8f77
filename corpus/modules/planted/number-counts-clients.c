// nmrfuzz: module
// summary: Provider that counts its clients in the Number of its registration instance.
// provides: 1
// consumes: 0
// expect: characteristics-changed
// rule: R13
// needs: a client attaches
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define INLET_POOL_TAG 'elnI'

// What a client gets through the provider dispatch.
typedef struct _INLET_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Inlet)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} INLET_PROVIDER_DISPATCH;

typedef struct _INLET_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} INLET_CLIENT, *PINLET_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD InletUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN InletAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN InletDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN InletCleanupBindingContext;

static const NPIID InletNpiId = { 0x2e6ea44c, 0xd3e6, 0x5856, { 0xbb, 0x22, 0xae, 0xcb, 0x72, 0xe2, 0x5e, 0xef } };

static const NPI_MODULEID InletModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6e2b9a7d, 0x3da4, 0x51ce, { 0xb6, 0xbf, 0x50, 0x79, 0xc5, 0x3c, 0x58, 0x76 } } }
};

static NPI_PROVIDER_CHARACTERISTICS InletCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    InletAttachClient,
    InletDetachClient,
    InletCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &InletNpiId,
        &InletModuleId,
        0,
        NULL
    }
};

static HANDLE InletProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
InletCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PINLET_CLIENT Client = (PINLET_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const INLET_PROVIDER_DISPATCH InletDispatch = { InletCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
InletAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PINLET_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PINLET_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), INLET_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    // Defect: the instance is registered, and shown to each client that comes.
    InterlockedIncrement((volatile LONG *)&InletCharacteristics.ProviderRegistrationInstance.Number);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &InletDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
InletDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside InletCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
InletCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, INLET_POOL_TAG);
}

_Use_decl_annotations_
static VOID
InletUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(InletProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(InletProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = InletUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&InletCharacteristics, NULL, &InletProviderHandle);
}
