// nmrfuzz: module
// summary: Provider of one NPI that keeps a context for each client, frees it in cleanup and unloads as the documentation teaches.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// The smallest complete provider: it never calls its clients, so its own side of a binding is quiet as soon as
// the detach callback is entered.

#include <ntddk.h>
#include <netioddk.h>

#define ECHO_POOL_TAG 'ohcE'

// What a client gets through the provider dispatch.
typedef struct _ECHO_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Echo)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} ECHO_PROVIDER_DISPATCH;

typedef struct _ECHO_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} ECHO_CLIENT, *PECHO_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EchoUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN EchoAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN EchoDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN EchoCleanupBindingContext;

static const NPIID EchoNpiId = { 0xa86a6280, 0x3a00, 0x55e9, { 0xad, 0x2f, 0x39, 0x7a, 0x8c, 0x91, 0x78, 0x50 } };

static const NPI_MODULEID EchoModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xbd05f75c, 0xfec3, 0x54d5, { 0x8b, 0x88, 0xf5, 0xf8, 0xb3, 0x28, 0xf3, 0x92 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS EchoCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    EchoAttachClient,
    EchoDetachClient,
    EchoCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &EchoNpiId,
        &EchoModuleId,
        0,
        NULL
    }
};

static HANDLE EchoProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
EchoCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PECHO_CLIENT Client = (PECHO_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const ECHO_PROVIDER_DISPATCH EchoDispatch = { EchoCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
EchoAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PECHO_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PECHO_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), ECHO_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &EchoDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EchoDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside EchoCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EchoCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, ECHO_POOL_TAG);
}

_Use_decl_annotations_
static VOID
EchoUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(EchoProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(EchoProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EchoUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&EchoCharacteristics, NULL, &EchoProviderHandle);
}
