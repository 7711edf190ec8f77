// nmrfuzz: module
// summary: Provider whose attach callbacks count under a lock that the DPC, which sets the counter back, does without.
// provides: 1
// consumes: 0
// expect: bug-check, data-race
// rule: none
// needs: a client is attached while the DPC takes the count
// interleaving: yes
// hardness: 70 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SHOVELER_POOL_TAG 'vohS'

typedef struct _SHOVELER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SHOVELER_PROVIDER_DISPATCH;

typedef struct _SHOVELER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SHOVELER_CLIENT, *PSHOVELER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ShovelerUnload;
static KDEFERRED_ROUTINE ShovelerDpcRoutine;
static NPI_PROVIDER_ATTACH_CLIENT_FN ShovelerAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ShovelerDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ShovelerCleanupBindingContext;

static const NPIID ShovelerNpiId = { 0x01e9fdb0, 0x3510, 0x571d, { 0xb3, 0x7e, 0xf8, 0x0d, 0x07, 0x97, 0xad, 0xc6 } };
static const NPI_MODULEID ShovelerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x28a6defe, 0x4a2d, 0x5d21, { 0x82, 0x25, 0xb5, 0x11, 0x13, 0x9b, 0x0b, 0x8f } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ShovelerCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ShovelerAttachClient,
    ShovelerDetachClient,
    ShovelerCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ShovelerNpiId, &ShovelerModuleId, 0, NULL }
};

static HANDLE ShovelerProviderHandle;
static KDPC ShovelerDpc;
static KSPIN_LOCK ShovelerLock;
static KSPIN_LOCK ShovelerDpcLock; // The DPC may run on two processors at once.
static ULONG ShovelerNew; // attachments that the DPC has not yet taken
static LONG ShovelerTaken;
static LONG ShovelerAttached;
static LONG ShovelerTraced;

static ULONG NTAPI
ShovelerVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SHOVELER_PROVIDER_DISPATCH ShovelerDispatch = { ShovelerVersion };

// The number of the next line in the log.
static VOID
ShovelerTrace(VOID)
{
    InterlockedIncrement(&ShovelerTraced);
}

// Counts what has come since the last time.
_Use_decl_annotations_
static VOID
ShovelerDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    ULONG Batch;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    ShovelerTrace();
    KeAcquireSpinLockAtDpcLevel(&ShovelerDpcLock);

    // Defect: an attach callback may count in between.
    Batch = ShovelerNew;
    InterlockedExchangeAdd(&ShovelerTaken, (LONG)Batch);
    ShovelerNew = 0;
    KeReleaseSpinLockFromDpcLevel(&ShovelerDpcLock);
    ShovelerTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ShovelerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSHOVELER_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSHOVELER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SHOVELER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    InterlockedIncrement(&ShovelerAttached);
    ShovelerTrace();
    KeAcquireSpinLock(&ShovelerLock, &OldIrql);
    ShovelerNew++;
    KeReleaseSpinLock(&ShovelerLock, OldIrql);
    ShovelerTrace();
    KeInsertQueueDpc(&ShovelerDpc, NULL, NULL);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ShovelerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ShovelerDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ShovelerCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SHOVELER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ShovelerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(ShovelerProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ShovelerProviderHandle);
    }

    // The DPC has been queued behind each attachment, so all have been taken when it has run for the last time.
    KeFlushQueuedDpcs();
    NT_ASSERT(ShovelerTaken == ShovelerAttached);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ShovelerUnload;
    KeInitializeDpc(&ShovelerDpc, ShovelerDpcRoutine, NULL);
    KeInitializeSpinLock(&ShovelerLock);
    KeInitializeSpinLock(&ShovelerDpcLock);
    return NmrRegisterProvider(&ShovelerCharacteristics, NULL, &ShovelerProviderHandle);
}
