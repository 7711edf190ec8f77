// nmrfuzz: module
// summary: Provider with a dispatch table for each client that frees the table in its detach callback.
// provides: 1
// consumes: 0
// expect: characteristics-changed
// rule: R53
// needs: a client is attached at unload
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define OSIER_POOL_TAG 'eisO'

// What a client gets through the provider dispatch.
typedef struct _OSIER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Osier)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} OSIER_PROVIDER_DISPATCH;

typedef struct _OSIER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
    OSIER_PROVIDER_DISPATCH *Table;
} OSIER_CLIENT, *POSIER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD OsierUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN OsierAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN OsierDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN OsierCleanupBindingContext;

static const NPIID OsierNpiId = { 0x99a2b3ed, 0x0314, 0x5fc4, { 0x9e, 0xea, 0x9c, 0x97, 0x77, 0x1c, 0x5c, 0x85 } };

static const NPI_MODULEID OsierModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe033f452, 0xf803, 0x5f17, { 0x9e, 0x14, 0xc5, 0xe9, 0xd4, 0x14, 0x44, 0x2d } } }
};

static const NPI_PROVIDER_CHARACTERISTICS OsierCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    OsierAttachClient,
    OsierDetachClient,
    OsierCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &OsierNpiId,
        &OsierModuleId,
        0,
        NULL
    }
};

static HANDLE OsierProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
OsierCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    POSIER_CLIENT Client = (POSIER_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
OsierAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    POSIER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (POSIER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), OSIER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Table = (OSIER_PROVIDER_DISPATCH *)ExAllocatePool2(
        POOL_FLAG_NON_PAGED,
        sizeof(*Client->Table),
        OSIER_POOL_TAG);
    if (Client->Table == NULL) {
        ExFreePoolWithTag(Client, OSIER_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Client->Table->Osier = OsierCall;
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = Client->Table;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
OsierDetachClient(PVOID ProviderBindingContext)
{
    POSIER_CLIENT Client = (POSIER_CLIENT)ProviderBindingContext;

    // Defect: the client calls through the table until it has detached as well.
    ExFreePoolWithTag(Client->Table, OSIER_POOL_TAG);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
OsierCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, OSIER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
OsierUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(OsierProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(OsierProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = OsierUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&OsierCharacteristics, NULL, &OsierProviderHandle);
}
