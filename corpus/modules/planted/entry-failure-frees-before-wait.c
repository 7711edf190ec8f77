// nmrfuzz: module
// summary: Provider and client whose DriverEntry, when it fails, frees its ledger before the provider is deregistered.
// provides: 1
// consumes: 1
// expect: use-after-free
// rule: R103
// needs: second registration fails while a client is attached to the first
// interleaving: no
// hardness: 59 schedules; 1000+ run to completion

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define AQUEDUCT_POOL_TAG 'euqA'

typedef enum _AQUEDUCT_SIDE { AqueductUpper, AqueductLower } AQUEDUCT_SIDE;

typedef struct _AQUEDUCT_ROUTE {
    LIST_ENTRY Link;
    AQUEDUCT_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} AQUEDUCT_ROUTE, *PAQUEDUCT_ROUTE;

typedef struct _AQUEDUCT_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} AQUEDUCT_UPPER_DISPATCH;

typedef struct _AQUEDUCT_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} AQUEDUCT_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AqueductUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN AqueductUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN AqueductLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI AqueductDetach(_In_ PVOID BindingContext);
static VOID NTAPI AqueductCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID AqueductModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa0cdc553, 0xf821, 0x5f91, { 0xa0, 0x35, 0x7e, 0x78, 0x35, 0x31, 0xe2, 0x39 } } }
};
static const NPIID AqueductUpperNpiId =
    { 0x1fbc6cd6, 0x7531, 0x5dd2, { 0x8c, 0x6d, 0xeb, 0xc5, 0xd8, 0x70, 0x3a, 0x04 } };
static const NPIID AqueductLowerNpiId =
    { 0x5ebd1bb1, 0x91c7, 0x5430, { 0x83, 0x38, 0x7d, 0x59, 0x99, 0x15, 0x92, 0x8a } };

static const NPI_PROVIDER_CHARACTERISTICS AqueductUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    AqueductUpperAttach,
    AqueductDetach,
    AqueductCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AqueductUpperNpiId, &AqueductModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS AqueductLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AqueductLowerAttach,
    AqueductDetach,
    AqueductCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AqueductLowerNpiId, &AqueductModuleId, 0, NULL }
};

static HANDLE AqueductUpperHandle;
static HANDLE AqueductLowerHandle;
static PLONG AqueductLedger; // Routes that came and went, one count each.
static KSPIN_LOCK AqueductLock;
_Guarded_by_(AqueductLock) static LIST_ENTRY AqueductRoutes;

static ULONG
AqueductCount(_In_ AQUEDUCT_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AqueductLock, &OldIrql);
    for (Entry = AqueductRoutes.Flink; Entry != &AqueductRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, AQUEDUCT_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&AqueductLock, OldIrql);
    return Count;
}

static ULONG NTAPI
AqueductCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return AqueductCount(AqueductLower);
}

static ULONG NTAPI
AqueductCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return AqueductCount(AqueductUpper);
}

static const AQUEDUCT_UPPER_DISPATCH AqueductUpperDispatch = { AqueductCountLower };
static const AQUEDUCT_LOWER_DISPATCH AqueductLowerDispatch = { AqueductCountUpper };

_Must_inspect_result_
static PAQUEDUCT_ROUTE
AqueductNewRoute(_In_ AQUEDUCT_SIDE Side, _In_ HANDLE BindingHandle)
{
    PAQUEDUCT_ROUTE Route;

    Route = (PAQUEDUCT_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), AQUEDUCT_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
AqueductPublish(_In_ PAQUEDUCT_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&AqueductLock, &OldIrql);
    InsertTailList(&AqueductRoutes, &Route->Link);
    AqueductLedger[0]++;
    KeReleaseSpinLock(&AqueductLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AqueductUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PAQUEDUCT_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = AqueductNewRoute(AqueductUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    AqueductPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &AqueductUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AqueductLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PAQUEDUCT_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = AqueductNewRoute(AqueductLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &AqueductLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, AQUEDUCT_POOL_TAG);
        return Status;
    }

    AqueductPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AqueductDetach(PVOID BindingContext)
{
    PAQUEDUCT_ROUTE Route = (PAQUEDUCT_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AqueductLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    AqueductLedger[1]++;
    KeReleaseSpinLock(&AqueductLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AqueductCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, AQUEDUCT_POOL_TAG);
}

_Use_decl_annotations_
static VOID
AqueductUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(AqueductUpperHandle);
    LowerStatus = NmrDeregisterClient(AqueductLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(AqueductUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AqueductLowerHandle);
    }

    ExFreePoolWithTag(AqueductLedger, AQUEDUCT_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AqueductUnload;
    KeInitializeSpinLock(&AqueductLock);
    InitializeListHead(&AqueductRoutes);

    AqueductLedger = (PLONG)ExAllocatePool2(POOL_FLAG_NON_PAGED, 2 * sizeof(LONG), AQUEDUCT_POOL_TAG);
    if (AqueductLedger == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&AqueductUpperCharacteristics, NULL, &AqueductUpperHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(AqueductLedger, AQUEDUCT_POOL_TAG);
        return Status;
    }

    Status = NmrRegisterClient(&AqueductLowerCharacteristics, NULL, &AqueductLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // Defect: clients of the first registration may be attached, and their detach callbacks write to the ledger.
        ExFreePoolWithTag(AqueductLedger, AQUEDUCT_POOL_TAG);
        if (NmrDeregisterProvider(AqueductUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(AqueductUpperHandle);
        }
    }

    return Status;
}
