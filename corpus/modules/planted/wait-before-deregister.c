// nmrfuzz: module
// summary: Provider whose Unload waits first and deregisters then.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R99
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define QUARTZ_POOL_TAG 'rauQ'

// What a client gets through the provider dispatch.
typedef struct _QUARTZ_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Quartz)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} QUARTZ_PROVIDER_DISPATCH;

typedef struct _QUARTZ_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} QUARTZ_CLIENT, *PQUARTZ_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD QuartzUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN QuartzAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN QuartzDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN QuartzCleanupBindingContext;

static const NPIID QuartzNpiId = { 0xf7cf8d2f, 0x5c06, 0x5bfb, { 0x92, 0xae, 0xf3, 0x56, 0x8d, 0x7a, 0xba, 0xfb } };

static const NPI_MODULEID QuartzModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x72743b67, 0x765c, 0x55c5, { 0xbd, 0x53, 0x9b, 0xc0, 0x29, 0xf7, 0xcb, 0x8a } } }
};

static const NPI_PROVIDER_CHARACTERISTICS QuartzCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    QuartzAttachClient,
    QuartzDetachClient,
    QuartzCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &QuartzNpiId,
        &QuartzModuleId,
        0,
        NULL
    }
};

static HANDLE QuartzProviderHandle;

_Must_inspect_result_
static NTSTATUS NTAPI
QuartzCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PQUARTZ_CLIENT Client = (PQUARTZ_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const QUARTZ_PROVIDER_DISPATCH QuartzDispatch = { QuartzCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
QuartzAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PQUARTZ_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PQUARTZ_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), QUARTZ_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &QuartzDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
QuartzDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside QuartzCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
QuartzCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, QUARTZ_POOL_TAG);
}

_Use_decl_annotations_
static VOID
QuartzUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    // Defect: there is nothing to wait for yet.
    NmrWaitForProviderDeregisterComplete(QuartzProviderHandle);
    Status = NmrDeregisterProvider(QuartzProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(QuartzProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = QuartzUnload;

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&QuartzCharacteristics, NULL, &QuartzProviderHandle);
}
