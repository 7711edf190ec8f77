// nmrfuzz: module
// summary: Provider whose Unload waits with a spin lock held.
// provides: 1
// consumes: 0
// expect: irql
// rule: R100
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TALLOW_POOL_TAG 'llaT'

// What a client gets through the provider dispatch.
typedef struct _TALLOW_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Tallow)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} TALLOW_PROVIDER_DISPATCH;

typedef struct _TALLOW_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} TALLOW_CLIENT, *PTALLOW_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TallowUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TallowAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TallowDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TallowCleanupBindingContext;

static const NPIID TallowNpiId = { 0x38d99943, 0x4909, 0x54c0, { 0xab, 0x94, 0xee, 0x64, 0x66, 0x85, 0xe9, 0x12 } };

static const NPI_MODULEID TallowModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x738de77d, 0xc99d, 0x5e4e, { 0xa2, 0x2e, 0x6e, 0x62, 0x50, 0x6a, 0xc7, 0xbe } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TallowCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TallowAttachClient,
    TallowDetachClient,
    TallowCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &TallowNpiId,
        &TallowModuleId,
        0,
        NULL
    }
};

static HANDLE TallowProviderHandle;
static KSPIN_LOCK TallowLock;

_Must_inspect_result_
static NTSTATUS NTAPI
TallowCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PTALLOW_CLIENT Client = (PTALLOW_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const TALLOW_PROVIDER_DISPATCH TallowDispatch = { TallowCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
TallowAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTALLOW_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTALLOW_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TALLOW_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TallowDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TallowDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside TallowCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TallowCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, TALLOW_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TallowUnload(PDRIVER_OBJECT DriverObject)
{
    KIRQL Irql;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(TallowProviderHandle);
    if (Status == STATUS_PENDING) {
        // Defect: a wait at DISPATCH_LEVEL.
        KeAcquireSpinLock(&TallowLock, &Irql);
        NmrWaitForProviderDeregisterComplete(TallowProviderHandle);
        KeReleaseSpinLock(&TallowLock, Irql);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TallowUnload;

    KeInitializeSpinLock(&TallowLock);

    // The registration is the only thing to set up, so its failure leaves nothing to undo.
    return NmrRegisterProvider(&TallowCharacteristics, NULL, &TallowProviderHandle);
}
