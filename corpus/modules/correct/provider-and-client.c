// nmrfuzz: module
// summary: Provider of one NPI and client of another; Unload begins both deregistrations and then waits for both.
// provides: 1
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define BRIDGE_POOL_TAG 'girB'

typedef enum _BRIDGE_SIDE { BridgeUpper, BridgeLower } BRIDGE_SIDE;

typedef struct _BRIDGE_ROUTE {
    LIST_ENTRY Link;
    BRIDGE_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} BRIDGE_ROUTE, *PBRIDGE_ROUTE;

typedef struct _BRIDGE_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} BRIDGE_UPPER_DISPATCH;

typedef struct _BRIDGE_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} BRIDGE_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BridgeUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN BridgeUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN BridgeLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI BridgeDetach(_In_ PVOID BindingContext);
static VOID NTAPI BridgeCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID BridgeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc359194b, 0xfb57, 0x5284, { 0xaf, 0x79, 0xc0, 0x36, 0x89, 0x7c, 0x7d, 0x51 } } }
};
static const NPIID BridgeUpperNpiId =
    { 0x5318f7dd, 0xa6e3, 0x58e0, { 0xab, 0x46, 0x89, 0x97, 0x06, 0x3c, 0xeb, 0xd1 } };
static const NPIID BridgeLowerNpiId =
    { 0x0a3309a4, 0x50dc, 0x5b76, { 0xbc, 0xc7, 0xd2, 0xef, 0x26, 0xdb, 0x9f, 0x65 } };

static const NPI_PROVIDER_CHARACTERISTICS BridgeUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BridgeUpperAttach,
    BridgeDetach,
    BridgeCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BridgeUpperNpiId, &BridgeModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS BridgeLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BridgeLowerAttach,
    BridgeDetach,
    BridgeCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BridgeLowerNpiId, &BridgeModuleId, 0, NULL }
};

static HANDLE BridgeUpperHandle;
static HANDLE BridgeLowerHandle;
static KSPIN_LOCK BridgeLock;
_Guarded_by_(BridgeLock) static LIST_ENTRY BridgeRoutes;

static ULONG
BridgeCount(_In_ BRIDGE_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BridgeLock, &OldIrql);
    for (Entry = BridgeRoutes.Flink; Entry != &BridgeRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, BRIDGE_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&BridgeLock, OldIrql);
    return Count;
}

static ULONG NTAPI
BridgeCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return BridgeCount(BridgeLower);
}

static ULONG NTAPI
BridgeCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return BridgeCount(BridgeUpper);
}

static const BRIDGE_UPPER_DISPATCH BridgeUpperDispatch = { BridgeCountLower };
static const BRIDGE_LOWER_DISPATCH BridgeLowerDispatch = { BridgeCountUpper };

_Must_inspect_result_
static PBRIDGE_ROUTE
BridgeNewRoute(_In_ BRIDGE_SIDE Side, _In_ HANDLE BindingHandle)
{
    PBRIDGE_ROUTE Route;

    Route = (PBRIDGE_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), BRIDGE_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
BridgePublish(_In_ PBRIDGE_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&BridgeLock, &OldIrql);
    InsertTailList(&BridgeRoutes, &Route->Link);
    KeReleaseSpinLock(&BridgeLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BridgeUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBRIDGE_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = BridgeNewRoute(BridgeUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    BridgePublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &BridgeUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BridgeLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBRIDGE_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = BridgeNewRoute(BridgeLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &BridgeLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, BRIDGE_POOL_TAG);
        return Status;
    }

    BridgePublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BridgeDetach(PVOID BindingContext)
{
    PBRIDGE_ROUTE Route = (PBRIDGE_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BridgeLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&BridgeLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BridgeCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, BRIDGE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BridgeUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(BridgeUpperHandle);
    LowerStatus = NmrDeregisterClient(BridgeLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BridgeUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BridgeLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BridgeUnload;
    KeInitializeSpinLock(&BridgeLock);
    InitializeListHead(&BridgeRoutes);

    Status = NmrRegisterProvider(&BridgeUpperCharacteristics, NULL, &BridgeUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&BridgeLowerCharacteristics, NULL, &BridgeLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(BridgeUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(BridgeUpperHandle);
        }
    }

    return Status;
}
