// nmrfuzz: module
// summary: Provider whose attach callbacks count into a word that a DPC empties by an interlocked exchange.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Increments and the exchange are interlocked, so each attachment is in exactly one of the batches that the DPC takes.

#include <ntddk.h>
#include <netioddk.h>

#define BRAMBLING_POOL_TAG 'marB'

typedef struct _BRAMBLING_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} BRAMBLING_PROVIDER_DISPATCH;

typedef struct _BRAMBLING_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} BRAMBLING_CLIENT, *PBRAMBLING_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BramblingUnload;
static KDEFERRED_ROUTINE BramblingDpcRoutine;
static NPI_PROVIDER_ATTACH_CLIENT_FN BramblingAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BramblingDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BramblingCleanupBindingContext;

static const NPIID BramblingNpiId = { 0x6d174ae4, 0x7697, 0x55e9, { 0xac, 0xc6, 0xde, 0x04, 0x2e, 0x23, 0x0f, 0x53 } };
static const NPI_MODULEID BramblingModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x50767582, 0x2ada, 0x5195, { 0x9e, 0xaf, 0x02, 0x3e, 0x08, 0x4c, 0x32, 0xc1 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BramblingCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BramblingAttachClient,
    BramblingDetachClient,
    BramblingCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BramblingNpiId, &BramblingModuleId, 0, NULL }
};

static HANDLE BramblingProviderHandle;
static KDPC BramblingDpc;
static LONG BramblingNew; // attachments that the DPC has not yet taken
static LONG BramblingTaken;
static LONG BramblingAttached;

static ULONG NTAPI
BramblingVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const BRAMBLING_PROVIDER_DISPATCH BramblingDispatch = { BramblingVersion };

// Counts what has come since the last time.
_Use_decl_annotations_
static VOID
BramblingDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    InterlockedExchangeAdd(&BramblingTaken, InterlockedExchange(&BramblingNew, 0));
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BramblingAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBRAMBLING_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PBRAMBLING_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), BRAMBLING_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    InterlockedIncrement(&BramblingAttached);
    InterlockedIncrement(&BramblingNew);
    KeInsertQueueDpc(&BramblingDpc, NULL, NULL);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &BramblingDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BramblingDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BramblingCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, BRAMBLING_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BramblingUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(BramblingProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BramblingProviderHandle);
    }

    // The DPC has been queued behind each attachment, so all have been taken when it has run for the last time.
    KeFlushQueuedDpcs();
    NT_ASSERT(BramblingTaken == BramblingAttached);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BramblingUnload;
    KeInitializeDpc(&BramblingDpc, BramblingDpcRoutine, NULL);
    return NmrRegisterProvider(&BramblingCharacteristics, NULL, &BramblingProviderHandle);
}
