// nmrfuzz: module
// summary: Provider that builds its NPI identifier in pool and frees it as soon as it is registered.
// provides: 1
// consumes: 0
// expect: characteristics-changed
// rule: R12
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define JETTY_POOL_TAG 'tteJ'

// What a client gets through the provider dispatch.
typedef struct _JETTY_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Jetty)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} JETTY_PROVIDER_DISPATCH;

typedef struct _JETTY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} JETTY_CLIENT, *PJETTY_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD JettyUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN JettyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN JettyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN JettyCleanupBindingContext;

static const NPIID JettyNpiId = { 0xbae36911, 0x60cb, 0x5d5f, { 0xa8, 0xd7, 0xc3, 0x4a, 0x6b, 0x59, 0xba, 0x49 } };

static const NPI_MODULEID JettyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3b93c459, 0x6104, 0x560e, { 0xae, 0xa5, 0xc1, 0x4f, 0xb1, 0x0f, 0xde, 0xbe } } }
};

static NPI_PROVIDER_CHARACTERISTICS JettyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    JettyAttachClient,
    JettyDetachClient,
    JettyCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        NULL,
        &JettyModuleId,
        0,
        NULL
    }
};

static HANDLE JettyProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
JettyCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PJETTY_CLIENT Client = (PJETTY_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const JETTY_PROVIDER_DISPATCH JettyDispatch = { JettyCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
JettyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PJETTY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PJETTY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), JETTY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &JettyDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
JettyDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside JettyCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
JettyCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, JETTY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
JettyUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(JettyProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(JettyProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NPIID *Identifier;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = JettyUnload;

    Identifier = (NPIID *)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Identifier), JETTY_POOL_TAG);
    if (Identifier == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *Identifier = JettyNpiId;
    JettyCharacteristics.ProviderRegistrationInstance.NpiId = Identifier;

    Status = NmrRegisterProvider(&JettyCharacteristics, NULL, &JettyProviderHandle);

    // Defect: NMR compares later registrations with it where it is.
    ExFreePoolWithTag(Identifier, JETTY_POOL_TAG);
    return Status;
}
