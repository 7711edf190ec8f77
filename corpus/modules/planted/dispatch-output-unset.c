// nmrfuzz: module
// summary: Provider whose attach callback accepts further clients without giving them a dispatch table.
// provides: 1
// consumes: 0
// expect: bad-status
// rule: R49
// needs: two clients at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PARLOR_POOL_TAG 'lraP'

// What a client gets through the provider dispatch.
typedef struct _PARLOR_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Parlor)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} PARLOR_PROVIDER_DISPATCH;

typedef struct _PARLOR_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} PARLOR_CLIENT, *PPARLOR_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ParlorUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ParlorAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ParlorDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ParlorCleanupBindingContext;

static const NPIID ParlorNpiId = { 0x5c8532a7, 0x94f3, 0x5a28, { 0xb6, 0x4f, 0xaf, 0x7b, 0xe3, 0xd8, 0xf4, 0xcb } };

static const NPI_MODULEID ParlorModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf0102412, 0xd9d8, 0x5f1f, { 0xa2, 0x0c, 0xf2, 0x2b, 0x13, 0x79, 0x67, 0x0c } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ParlorCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ParlorAttachClient,
    ParlorDetachClient,
    ParlorCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &ParlorNpiId,
        &ParlorModuleId,
        0,
        NULL
    }
};

static HANDLE ParlorProviderHandle;
static LONG ParlorClients;

_Must_inspect_result_
static NTSTATUS NTAPI
ParlorSpeak(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PPARLOR_CLIENT Client = (PPARLOR_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const PARLOR_PROVIDER_DISPATCH ParlorDispatch = { ParlorSpeak };

_Use_decl_annotations_
static NTSTATUS NTAPI
ParlorAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPARLOR_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPARLOR_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PARLOR_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    // Only the first client may speak, the others are there to listen.
    if (InterlockedIncrement(&ParlorClients) == 1) {
        *ProviderDispatch = &ParlorDispatch;
    }

    // Defect: for the others the output has no value. No table would be NULL.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ParlorDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside ParlorSpeak.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ParlorCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PARLOR_POOL_TAG);
    InterlockedDecrement(&ParlorClients);
}

_Use_decl_annotations_
static VOID
ParlorUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(ParlorProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ParlorProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ParlorUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&ParlorCharacteristics, NULL, &ParlorProviderHandle);
}
