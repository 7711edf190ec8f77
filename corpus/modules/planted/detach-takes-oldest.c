// nmrfuzz: module
// summary: Provider and client whose detach callback takes the oldest route off the list, whichever is detached.
// provides: 1
// consumes: 1
// expect: use-after-free
// rule: R81, R88
// needs: two bindings, of which the younger one is detached first
// interleaving: no
// hardness: 8 schedules; 7 run to completion

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define FERRYWAY_POOL_TAG 'rreF'

typedef enum _FERRYWAY_SIDE { FerrywayUpper, FerrywayLower } FERRYWAY_SIDE;

typedef struct _FERRYWAY_ROUTE {
    LIST_ENTRY Link;
    FERRYWAY_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} FERRYWAY_ROUTE, *PFERRYWAY_ROUTE;

typedef struct _FERRYWAY_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} FERRYWAY_UPPER_DISPATCH;

typedef struct _FERRYWAY_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} FERRYWAY_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FerrywayUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN FerrywayUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN FerrywayLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI FerrywayDetach(_In_ PVOID BindingContext);
static VOID NTAPI FerrywayCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID FerrywayModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9335a854, 0x49e2, 0x54e6, { 0x8c, 0x0a, 0xc4, 0x59, 0xac, 0x25, 0x90, 0x99 } } }
};
static const NPIID FerrywayUpperNpiId =
    { 0x22d54bc7, 0x170c, 0x54c8, { 0x97, 0x02, 0xc8, 0xc9, 0x55, 0x57, 0x52, 0x87 } };
static const NPIID FerrywayLowerNpiId =
    { 0x11c8cfe7, 0x97df, 0x5e77, { 0x8d, 0x8e, 0x21, 0xec, 0xa8, 0x86, 0x91, 0xc8 } };

static const NPI_PROVIDER_CHARACTERISTICS FerrywayUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    FerrywayUpperAttach,
    FerrywayDetach,
    FerrywayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FerrywayUpperNpiId, &FerrywayModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS FerrywayLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    FerrywayLowerAttach,
    FerrywayDetach,
    FerrywayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FerrywayLowerNpiId, &FerrywayModuleId, 0, NULL }
};

static HANDLE FerrywayUpperHandle;
static HANDLE FerrywayLowerHandle;
static KSPIN_LOCK FerrywayLock;
_Guarded_by_(FerrywayLock) static LIST_ENTRY FerrywayRoutes;

static ULONG
FerrywayCount(_In_ FERRYWAY_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FerrywayLock, &OldIrql);
    for (Entry = FerrywayRoutes.Flink; Entry != &FerrywayRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, FERRYWAY_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&FerrywayLock, OldIrql);
    return Count;
}

static ULONG NTAPI
FerrywayCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return FerrywayCount(FerrywayLower);
}

static ULONG NTAPI
FerrywayCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return FerrywayCount(FerrywayUpper);
}

static const FERRYWAY_UPPER_DISPATCH FerrywayUpperDispatch = { FerrywayCountLower };
static const FERRYWAY_LOWER_DISPATCH FerrywayLowerDispatch = { FerrywayCountUpper };

_Must_inspect_result_
static PFERRYWAY_ROUTE
FerrywayNewRoute(_In_ FERRYWAY_SIDE Side, _In_ HANDLE BindingHandle)
{
    PFERRYWAY_ROUTE Route;

    Route = (PFERRYWAY_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), FERRYWAY_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
FerrywayPublish(_In_ PFERRYWAY_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&FerrywayLock, &OldIrql);
    InsertTailList(&FerrywayRoutes, &Route->Link);
    KeReleaseSpinLock(&FerrywayLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FerrywayUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFERRYWAY_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = FerrywayNewRoute(FerrywayUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    FerrywayPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &FerrywayUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FerrywayLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PFERRYWAY_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = FerrywayNewRoute(FerrywayLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &FerrywayLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, FERRYWAY_POOL_TAG);
        return Status;
    }

    FerrywayPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FerrywayDetach(PVOID BindingContext)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(BindingContext);

    // Defect: bindings are detached in no particular order.
    KeAcquireSpinLock(&FerrywayLock, &OldIrql);
    RemoveHeadList(&FerrywayRoutes);
    KeReleaseSpinLock(&FerrywayLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FerrywayCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, FERRYWAY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
FerrywayUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(FerrywayUpperHandle);
    LowerStatus = NmrDeregisterClient(FerrywayLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(FerrywayUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(FerrywayLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FerrywayUnload;
    KeInitializeSpinLock(&FerrywayLock);
    InitializeListHead(&FerrywayRoutes);

    Status = NmrRegisterProvider(&FerrywayUpperCharacteristics, NULL, &FerrywayUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&FerrywayLowerCharacteristics, NULL, &FerrywayLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(FerrywayUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(FerrywayUpperHandle);
        }
    }

    return Status;
}
