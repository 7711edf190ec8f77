// nmrfuzz: module
// summary: Provider whose Unload holds the spin lock of its list of clients while it deregisters.
// provides: 1
// consumes: 0
// expect: deadlock, lock-misuse
// rule: R105
// needs: a client is attached when the driver unloads
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define INDEX_POOL_TAG 'xdnI'

// What a client gets through the provider dispatch.
typedef struct _INDEX_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Index)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} INDEX_PROVIDER_DISPATCH;

typedef struct _INDEX_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} INDEX_CLIENT, *PINDEX_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD IndexUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN IndexAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN IndexDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN IndexCleanupBindingContext;

static const NPIID IndexNpiId = { 0x8134f2ca, 0xc7d2, 0x5413, { 0xab, 0x7c, 0xc0, 0x9b, 0x2a, 0x48, 0x2f, 0xd4 } };

static const NPI_MODULEID IndexModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x60332186, 0xfe3d, 0x51f6, { 0xae, 0x4b, 0x29, 0x47, 0x14, 0x92, 0x56, 0x06 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS IndexCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    IndexAttachClient,
    IndexDetachClient,
    IndexCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &IndexNpiId,
        &IndexModuleId,
        0,
        NULL
    }
};

static HANDLE IndexProviderHandle;
static KSPIN_LOCK IndexLock;
_Guarded_by_(IndexLock) static LIST_ENTRY IndexClients;
_Guarded_by_(IndexLock) static BOOLEAN IndexStopping;

_Must_inspect_result_
static NTSTATUS NTAPI
IndexLookup(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PINDEX_CLIENT Client = (PINDEX_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const INDEX_PROVIDER_DISPATCH IndexDispatch = { IndexLookup };

_Use_decl_annotations_
static NTSTATUS NTAPI
IndexAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PINDEX_CLIENT Client;
    BOOLEAN Stopping;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PINDEX_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), INDEX_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&IndexLock, &OldIrql);
    Stopping = IndexStopping;
    if (!Stopping) {
        InsertTailList(&IndexClients, &Client->Link);
    }
    KeReleaseSpinLock(&IndexLock, OldIrql);

    if (Stopping) {
        ExFreePoolWithTag(Client, INDEX_POOL_TAG);
        return STATUS_NOINTERFACE;
    }

    *ProviderBindingContext = Client;
    *ProviderDispatch = &IndexDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
IndexDetachClient(PVOID ProviderBindingContext)
{
    PINDEX_CLIENT Client = (PINDEX_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&IndexLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    KeReleaseSpinLock(&IndexLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
IndexCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, INDEX_POOL_TAG);
}

_Use_decl_annotations_
static VOID
IndexUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: meant to make "stopping" and the deregistration one step, but the detach callbacks, which run inside
    // NmrDeregisterProvider, take the same lock.
    KeAcquireSpinLock(&IndexLock, &OldIrql);
    IndexStopping = TRUE;
    Status = NmrDeregisterProvider(IndexProviderHandle);
    KeReleaseSpinLock(&IndexLock, OldIrql);

    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(IndexProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = IndexUnload;

    KeInitializeSpinLock(&IndexLock);
    InitializeListHead(&IndexClients);

    return NmrRegisterProvider(&IndexCharacteristics, NULL, &IndexProviderHandle);
}
