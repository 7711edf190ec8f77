// nmrfuzz: module
// summary: Provider whose characteristics are a local variable of DriverEntry.
// provides: 1
// consumes: 0
// expect: characteristics-changed
// rule: R11, R13
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PERGOLA_POOL_TAG 'greP'

// What a client gets through the provider dispatch.
typedef struct _PERGOLA_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Pergola)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} PERGOLA_PROVIDER_DISPATCH;

typedef struct _PERGOLA_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} PERGOLA_CLIENT, *PPERGOLA_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PergolaUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN PergolaAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PergolaDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PergolaCleanupBindingContext;

static const NPIID PergolaNpiId = { 0x7933db41, 0x0889, 0x55de, { 0xb1, 0xe6, 0xcb, 0xe4, 0xde, 0x0c, 0x79, 0x4c } };

static const NPI_MODULEID PergolaModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe945479c, 0x7413, 0x5322, { 0x86, 0x60, 0x47, 0xd1, 0x79, 0x01, 0x1a, 0x84 } } }
};

static HANDLE PergolaProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
PergolaCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PPERGOLA_CLIENT Client = (PPERGOLA_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const PERGOLA_PROVIDER_DISPATCH PergolaDispatch = { PergolaCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
PergolaAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPERGOLA_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPERGOLA_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PERGOLA_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PergolaDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PergolaDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside PergolaCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PergolaCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PERGOLA_POOL_TAG);
}

_Use_decl_annotations_
static VOID
PergolaUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(PergolaProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PergolaProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NPI_PROVIDER_CHARACTERISTICS Characteristics = {
        0,
        sizeof(NPI_PROVIDER_CHARACTERISTICS),
        PergolaAttachClient,
        PergolaDetachClient,
        PergolaCleanupBindingContext,
        { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PergolaNpiId, &PergolaModuleId, 0, NULL }
    };

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PergolaUnload;

    // Defect: the frame of DriverEntry is gone while the registration lasts.
    return NmrRegisterProvider(&Characteristics, NULL, &PergolaProviderHandle);
}
