// nmrfuzz: module
// summary: Provider that holds a spin lock while it registers.
// provides: 1
// consumes: 0
// expect: irql
// rule: R19
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SLUICE_POOL_TAG 'iulS'

// What a client gets through the provider dispatch.
typedef struct _SLUICE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Sluice)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} SLUICE_PROVIDER_DISPATCH;

typedef struct _SLUICE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} SLUICE_CLIENT, *PSLUICE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SluiceUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN SluiceAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SluiceDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SluiceCleanupBindingContext;

static const NPIID SluiceNpiId = { 0x6cdb14f3, 0x65cb, 0x5dd8, { 0xa3, 0xc0, 0x77, 0x91, 0x91, 0x7f, 0x32, 0xc8 } };

static const NPI_MODULEID SluiceModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe1cee98c, 0xd47b, 0x53ec, { 0xa8, 0xee, 0xf5, 0x08, 0x03, 0xf3, 0x06, 0x97 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SluiceCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SluiceAttachClient,
    SluiceDetachClient,
    SluiceCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &SluiceNpiId,
        &SluiceModuleId,
        0,
        NULL
    }
};

static HANDLE SluiceProviderHandle;
static KSPIN_LOCK SluiceLock;

_Must_inspect_result_
static NTSTATUS NTAPI
SluiceCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PSLUICE_CLIENT Client = (PSLUICE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const SLUICE_PROVIDER_DISPATCH SluiceDispatch = { SluiceCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
SluiceAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSLUICE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSLUICE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SLUICE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SluiceDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SluiceDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside SluiceCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SluiceCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SLUICE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
SluiceUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(SluiceProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SluiceProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    KIRQL Irql;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SluiceUnload;

    // Defect: at DISPATCH_LEVEL, where no attach callback may run.
    KeInitializeSpinLock(&SluiceLock);
    KeAcquireSpinLock(&SluiceLock, &Irql);
    Status = NmrRegisterProvider(&SluiceCharacteristics, NULL, &SluiceProviderHandle);
    KeReleaseSpinLock(&SluiceLock, Irql);
    return Status;
}
