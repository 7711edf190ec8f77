// nmrfuzz: module
// summary: Provider and client whose Unload leaves the client registered if no provider was ever attached.
// provides: 1
// consumes: 1
// expect: unload-registered
// rule: R93, R94, R89
// needs: no provider attaches to the consumed NPI
// interleaving: no
// hardness: 5 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define RELAY_POOL_TAG 'yleR'

typedef enum _RELAY_SIDE { RelayUpper, RelayLower } RELAY_SIDE;

typedef struct _RELAY_ROUTE {
    LIST_ENTRY Link;
    RELAY_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} RELAY_ROUTE, *PRELAY_ROUTE;

typedef struct _RELAY_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} RELAY_UPPER_DISPATCH;

typedef struct _RELAY_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} RELAY_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RelayUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN RelayUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN RelayLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI RelayDetach(_In_ PVOID BindingContext);
static VOID NTAPI RelayCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID RelayModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3bedb042, 0xff20, 0x5ccf, { 0xa4, 0x54, 0x10, 0x9e, 0xda, 0xba, 0xfa, 0xcd } } }
};
static const NPIID RelayUpperNpiId = { 0x142c7b78, 0x8c31, 0x594c, { 0xa8, 0xa5, 0x85, 0xb5, 0xd6, 0xdf, 0x8d, 0x92 } };
static const NPIID RelayLowerNpiId = { 0x1a5c43bc, 0x3960, 0x50c5, { 0xaa, 0x25, 0x3d, 0xf2, 0xb3, 0xdf, 0xb4, 0xbf } };

static const NPI_PROVIDER_CHARACTERISTICS RelayUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    RelayUpperAttach,
    RelayDetach,
    RelayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RelayUpperNpiId, &RelayModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS RelayLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RelayLowerAttach,
    RelayDetach,
    RelayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RelayLowerNpiId, &RelayModuleId, 0, NULL }
};

static HANDLE RelayUpperHandle;
static HANDLE RelayLowerHandle;
static LONG RelayLowerUsed; // Set once a provider has been attached.
static KSPIN_LOCK RelayLock;
_Guarded_by_(RelayLock) static LIST_ENTRY RelayRoutes;

static ULONG
RelayCount(_In_ RELAY_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RelayLock, &OldIrql);
    for (Entry = RelayRoutes.Flink; Entry != &RelayRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, RELAY_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&RelayLock, OldIrql);
    return Count;
}

static ULONG NTAPI
RelayCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return RelayCount(RelayLower);
}

static ULONG NTAPI
RelayCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return RelayCount(RelayUpper);
}

static const RELAY_UPPER_DISPATCH RelayUpperDispatch = { RelayCountLower };
static const RELAY_LOWER_DISPATCH RelayLowerDispatch = { RelayCountUpper };

_Must_inspect_result_
static PRELAY_ROUTE
RelayNewRoute(_In_ RELAY_SIDE Side, _In_ HANDLE BindingHandle)
{
    PRELAY_ROUTE Route;

    Route = (PRELAY_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), RELAY_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
RelayPublish(_In_ PRELAY_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&RelayLock, &OldIrql);
    InsertTailList(&RelayRoutes, &Route->Link);
    KeReleaseSpinLock(&RelayLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RelayUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PRELAY_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = RelayNewRoute(RelayUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    RelayPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &RelayUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RelayLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PRELAY_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = RelayNewRoute(RelayLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &RelayLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, RELAY_POOL_TAG);
        return Status;
    }

    InterlockedExchange(&RelayLowerUsed, 1);
    RelayPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RelayDetach(PVOID BindingContext)
{
    PRELAY_ROUTE Route = (PRELAY_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RelayLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&RelayLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RelayCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, RELAY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
RelayUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(RelayUpperHandle);

    // Defect: the registration exists whether or not anything was ever bound to it.
    if (InterlockedCompareExchange(&RelayLowerUsed, 0, 0) != 0) {
        LowerStatus = NmrDeregisterClient(RelayLowerHandle);
    }

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(RelayUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RelayLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RelayUnload;
    KeInitializeSpinLock(&RelayLock);
    InitializeListHead(&RelayRoutes);

    Status = NmrRegisterProvider(&RelayUpperCharacteristics, NULL, &RelayUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&RelayLowerCharacteristics, NULL, &RelayLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(RelayUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(RelayUpperHandle);
        }
    }

    return Status;
}
