// nmrfuzz: module
// summary: Provider with a table that the first client makes and the last one frees, counted apart from its pointer.
// provides: 1
// consumes: 0
// expect: use-after-free, double-free, memory-leak
// rule: R88
// needs: a client attaches while the last one is cleaned up
// interleaving: yes
// hardness: 570 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CANYON_POOL_TAG 'ynaC'

// What a client gets through the provider dispatch.
typedef struct _CANYON_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Canyon)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} CANYON_PROVIDER_DISPATCH;

// Shared by all clients; there is one while there are clients.
typedef struct _CANYON_TABLE {
    LONG Attached;
    LONG Detached;
} CANYON_TABLE, *PCANYON_TABLE;

typedef struct _CANYON_CLIENT {
    PCANYON_TABLE Table;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} CANYON_CLIENT, *PCANYON_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CanyonUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN CanyonAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CanyonDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CanyonCleanupBindingContext;

static const NPIID CanyonNpiId = { 0x14debbcd, 0x6436, 0x5d87, { 0x80, 0x61, 0x59, 0x15, 0x94, 0xdf, 0x69, 0xc7 } };

static const NPI_MODULEID CanyonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd1f5f34f, 0x7096, 0x57e0, { 0x8a, 0xb0, 0xf8, 0xcd, 0xb7, 0xad, 0xe1, 0x9e } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CanyonCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CanyonAttachClient,
    CanyonDetachClient,
    CanyonCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &CanyonNpiId,
        &CanyonModuleId,
        0,
        NULL
    }
};

static HANDLE CanyonProviderHandle;
static KSPIN_LOCK CanyonLock;
_Guarded_by_(CanyonLock) static PCANYON_TABLE CanyonTable;
_Guarded_by_(CanyonLock) static ULONG CanyonClients;

// The table, which is allocated if there is none; NULL without memory.
_Must_inspect_result_
static PCANYON_TABLE
CanyonGetTable(VOID)
{
    PCANYON_TABLE Table;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CanyonLock, &OldIrql);
    if (CanyonTable == NULL) {
        CanyonTable = (PCANYON_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*CanyonTable), CANYON_POOL_TAG);
    }
    Table = CanyonTable;
    KeReleaseSpinLock(&CanyonLock, OldIrql);
    return Table;
}

static VOID
CanyonAddClient(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CanyonLock, &OldIrql);
    CanyonClients++;
    KeReleaseSpinLock(&CanyonLock, OldIrql);
}

static VOID
CanyonRemoveClient(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CanyonLock, &OldIrql);
    if (--CanyonClients == 0) {
        ExFreePoolWithTag(CanyonTable, CANYON_POOL_TAG);
        CanyonTable = NULL;
    }
    KeReleaseSpinLock(&CanyonLock, OldIrql);
}

_Must_inspect_result_
static NTSTATUS NTAPI
CanyonCall(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PCANYON_CLIENT Client = (PCANYON_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const CANYON_PROVIDER_DISPATCH CanyonDispatch = { CanyonCall };

_Use_decl_annotations_
static NTSTATUS NTAPI
CanyonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCANYON_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PCANYON_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), CANYON_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Table = CanyonGetTable();
    if (Client->Table == NULL) {
        ExFreePoolWithTag(Client, CANYON_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Defect: the last client but this one may have freed the table since. Taking it and counting ought to be one step.
    CanyonAddClient();
    InterlockedIncrement(&Client->Table->Attached);

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &CanyonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CanyonDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside CanyonCall.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CanyonCleanupBindingContext(PVOID ProviderBindingContext)
{
    PCANYON_CLIENT Client = (PCANYON_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Table->Detached);
    CanyonRemoveClient();
    ExFreePoolWithTag(Client, CANYON_POOL_TAG);
}

_Use_decl_annotations_
static VOID
CanyonUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(CanyonProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CanyonProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CanyonUnload;

    KeInitializeSpinLock(&CanyonLock);

    // The registration is the only thing that can fail, so there is nothing to undo.
    return NmrRegisterProvider(&CanyonCharacteristics, NULL, &CanyonProviderHandle);
}
