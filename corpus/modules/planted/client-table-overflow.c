// nmrfuzz: module
// summary: Provider with a table of two clients whose search for a free entry goes one too far.
// provides: 1
// consumes: 0
// expect: buffer-overflow
// rule: none
// needs: three clients at once
// interleaving: no
// hardness: 119 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LOCKER_POOL_TAG 'kcoL'
#define LOCKER_MAX_CLIENTS 2

// What a client gets through the provider dispatch.
typedef struct _LOCKER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Locker)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} LOCKER_PROVIDER_DISPATCH;

typedef struct _LOCKER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} LOCKER_CLIENT, *PLOCKER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LockerUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN LockerAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LockerDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN LockerCleanupBindingContext;

static const NPIID LockerNpiId = { 0xf21514b5, 0x7e07, 0x504f, { 0x89, 0x79, 0x4d, 0x2c, 0x6c, 0xfc, 0x2b, 0x2a } };

static const NPI_MODULEID LockerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x29146a8f, 0x748c, 0x5f11, { 0xa2, 0x90, 0x6d, 0x8a, 0x1f, 0x33, 0x17, 0xd8 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LockerCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LockerAttachClient,
    LockerDetachClient,
    LockerCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &LockerNpiId,
        &LockerModuleId,
        0,
        NULL
    }
};

static HANDLE LockerProviderHandle;
static KSPIN_LOCK LockerLock;
_Guarded_by_(LockerLock) static PVOID *LockerTable; // LOCKER_MAX_CLIENTS entries in pool, NULL if free.

_Must_inspect_result_
static NTSTATUS NTAPI
LockerOpen(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PLOCKER_CLIENT Client = (PLOCKER_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const LOCKER_PROVIDER_DISPATCH LockerDispatch = { LockerOpen };

_Use_decl_annotations_
static NTSTATUS NTAPI
LockerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLOCKER_CLIENT Client;
    BOOLEAN Found = FALSE;
    ULONG Index;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PLOCKER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), LOCKER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    // Defect: the last index is LOCKER_MAX_CLIENTS - 1.
    KeAcquireSpinLock(&LockerLock, &OldIrql);
    for (Index = 0; Index <= LOCKER_MAX_CLIENTS && !Found; Index++) {
        if (LockerTable[Index] == NULL) {
            LockerTable[Index] = Client;
            Found = TRUE;
        }
    }
    KeReleaseSpinLock(&LockerLock, OldIrql);

    if (!Found) {
        ExFreePoolWithTag(Client, LOCKER_POOL_TAG);
        return STATUS_NOINTERFACE;
    }

    *ProviderBindingContext = Client;
    *ProviderDispatch = &LockerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LockerDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside LockerOpen.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LockerCleanupBindingContext(PVOID ProviderBindingContext)
{
    ULONG Index;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LockerLock, &OldIrql);
    for (Index = 0; Index < LOCKER_MAX_CLIENTS; Index++) {
        if (LockerTable[Index] == ProviderBindingContext) {
            LockerTable[Index] = NULL;
        }
    }
    KeReleaseSpinLock(&LockerLock, OldIrql);

    ExFreePoolWithTag(ProviderBindingContext, LOCKER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LockerUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(LockerProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LockerProviderHandle);
    }

    ExFreePoolWithTag(LockerTable, LOCKER_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LockerUnload;

    KeInitializeSpinLock(&LockerLock);
    LockerTable = (PVOID *)ExAllocatePool2(POOL_FLAG_NON_PAGED, LOCKER_MAX_CLIENTS * sizeof(PVOID), LOCKER_POOL_TAG);
    if (LockerTable == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&LockerCharacteristics, NULL, &LockerProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(LockerTable, LOCKER_POOL_TAG);
    }

    return Status;
}
