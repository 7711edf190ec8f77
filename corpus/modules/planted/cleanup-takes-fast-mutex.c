// nmrfuzz: module
// summary: Provider whose cleanup callback takes a fast mutex.
// provides: 1
// consumes: 0
// expect: irql
// rule: R86
// needs: a cleanup at DISPATCH_LEVEL
// interleaving: no
// hardness: 15 schedules; 5 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GROVE_POOL_TAG 'vorG'

// What a client gets through the provider dispatch.
typedef struct _GROVE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Grove)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} GROVE_PROVIDER_DISPATCH;

typedef struct _GROVE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} GROVE_CLIENT, *PGROVE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GroveUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN GroveAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GroveDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GroveCleanupBindingContext;

static const NPIID GroveNpiId = { 0xb7a21df9, 0xe015, 0x542e, { 0xb4, 0xf2, 0xb8, 0x7e, 0xbb, 0x08, 0x89, 0x5b } };

static const NPI_MODULEID GroveModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x2806ae71, 0xaef9, 0x5b12, { 0xa5, 0x38, 0xf7, 0x3a, 0xa0, 0x4c, 0xcb, 0xc5 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GroveCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GroveAttachClient,
    GroveDetachClient,
    GroveCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &GroveNpiId,
        &GroveModuleId,
        0,
        NULL
    }
};

static HANDLE GroveProviderHandle;
static FAST_MUTEX GroveMutex;
static ULONG GroveClientsGone;

_Must_inspect_result_
static NTSTATUS NTAPI
GroveCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PGROVE_CLIENT Client = (PGROVE_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const GROVE_PROVIDER_DISPATCH GroveDispatch = { GroveCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
GroveAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGROVE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PGROVE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GROVE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GroveDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GroveDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside GroveCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GroveCleanupBindingContext(PVOID ProviderBindingContext)
{
    // Defect: cleanup may be called at DISPATCH_LEVEL, where no thread can wait for a mutex.
    ExAcquireFastMutex(&GroveMutex);
    GroveClientsGone += 1;
    ExReleaseFastMutex(&GroveMutex);
    ExFreePoolWithTag(ProviderBindingContext, GROVE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GroveUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(GroveProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GroveProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GroveUnload;

    ExInitializeFastMutex(&GroveMutex);

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&GroveCharacteristics, NULL, &GroveProviderHandle);
}
