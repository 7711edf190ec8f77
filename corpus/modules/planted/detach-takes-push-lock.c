// nmrfuzz: module
// summary: Provider whose detach callback takes a push lock, which it may not at DISPATCH_LEVEL.
// provides: 1
// consumes: 0
// expect: irql
// rule: R78
// needs: detach at DISPATCH_LEVEL
// interleaving: no
// hardness: 35 schedules; 14 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ROSTER_POOL_TAG 'tsoR'

// What a client gets through the provider dispatch.
typedef struct _ROSTER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Roster)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} ROSTER_PROVIDER_DISPATCH;

typedef struct _ROSTER_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} ROSTER_CLIENT, *PROSTER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RosterUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN RosterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN RosterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN RosterCleanupBindingContext;

static const NPIID RosterNpiId = { 0xa9015c4e, 0x0e1e, 0x5ca9, { 0x80, 0xa5, 0xc6, 0xb0, 0x66, 0x25, 0x8e, 0x68 } };

static const NPI_MODULEID RosterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x426a544b, 0x1bf2, 0x5ef4, { 0xba, 0x0b, 0x35, 0xd6, 0x9f, 0xa1, 0xde, 0x0d } } }
};

static const NPI_PROVIDER_CHARACTERISTICS RosterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    RosterAttachClient,
    RosterDetachClient,
    RosterCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &RosterNpiId,
        &RosterModuleId,
        0,
        NULL
    }
};

static HANDLE RosterProviderHandle;
static EX_PUSH_LOCK RosterLock;
_Guarded_by_(RosterLock) static LIST_ENTRY RosterClients;

_Must_inspect_result_
static NTSTATUS NTAPI
RosterCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PROSTER_CLIENT Client = (PROSTER_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const ROSTER_PROVIDER_DISPATCH RosterDispatch = { RosterCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
RosterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PROSTER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PROSTER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), ROSTER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&RosterLock);
    InsertTailList(&RosterClients, &Client->Link);
    ExReleasePushLockExclusive(&RosterLock);
    KeLeaveCriticalRegion();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &RosterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RosterDetachClient(PVOID ProviderBindingContext)
{
    PROSTER_CLIENT Client = (PROSTER_CLIENT)ProviderBindingContext;

    // Defect: the callback runs at whatever IRQL the deregistering module had, up to DISPATCH_LEVEL.
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&RosterLock);
    RemoveEntryList(&Client->Link);
    ExReleasePushLockExclusive(&RosterLock);
    KeLeaveCriticalRegion();

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RosterCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, ROSTER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
RosterUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(RosterProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(RosterProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RosterUnload;

    ExInitializePushLock(&RosterLock);
    InitializeListHead(&RosterClients);

    return NmrRegisterProvider(&RosterCharacteristics, NULL, &RosterProviderHandle);
}
