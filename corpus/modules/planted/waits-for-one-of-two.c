// nmrfuzz: module
// summary: Provider and client whose Unload takes an empty list of routes for the end of the second deregistration.
// provides: 1
// consumes: 1
// expect: unload-pending
// rule: R95, R91
// needs: the last route is off the list when the first wait has returned
// interleaving: no
// hardness: 1 schedules; 1 run to completion

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define JUNCTION_POOL_TAG 'cnuJ'

typedef enum _JUNCTION_SIDE { JunctionUpper, JunctionLower } JUNCTION_SIDE;

typedef struct _JUNCTION_ROUTE {
    LIST_ENTRY Link;
    JUNCTION_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} JUNCTION_ROUTE, *PJUNCTION_ROUTE;

typedef struct _JUNCTION_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} JUNCTION_UPPER_DISPATCH;

typedef struct _JUNCTION_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} JUNCTION_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD JunctionUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN JunctionUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN JunctionLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI JunctionDetach(_In_ PVOID BindingContext);
static VOID NTAPI JunctionCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID JunctionModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x29acc5a0, 0xdca4, 0x5865, { 0xa6, 0x0c, 0x17, 0x30, 0x93, 0x9b, 0x7b, 0xb0 } } }
};
static const NPIID JunctionUpperNpiId =
    { 0x261f23de, 0x68ba, 0x56dc, { 0x84, 0xad, 0x3d, 0xd9, 0x16, 0xd5, 0x18, 0x07 } };
static const NPIID JunctionLowerNpiId =
    { 0xed48971a, 0xa440, 0x554d, { 0xbe, 0x48, 0xfa, 0xaa, 0xa7, 0x1d, 0xea, 0x48 } };

static const NPI_PROVIDER_CHARACTERISTICS JunctionUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    JunctionUpperAttach,
    JunctionDetach,
    JunctionCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &JunctionUpperNpiId, &JunctionModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS JunctionLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    JunctionLowerAttach,
    JunctionDetach,
    JunctionCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &JunctionLowerNpiId, &JunctionModuleId, 0, NULL }
};

static HANDLE JunctionUpperHandle;
static HANDLE JunctionLowerHandle;
static KSPIN_LOCK JunctionLock;
_Guarded_by_(JunctionLock) static LIST_ENTRY JunctionRoutes;

static ULONG
JunctionCount(_In_ JUNCTION_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&JunctionLock, &OldIrql);
    for (Entry = JunctionRoutes.Flink; Entry != &JunctionRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, JUNCTION_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&JunctionLock, OldIrql);
    return Count;
}

static BOOLEAN
JunctionIsEmpty(VOID)
{
    BOOLEAN Empty;
    KIRQL OldIrql;

    KeAcquireSpinLock(&JunctionLock, &OldIrql);
    Empty = IsListEmpty(&JunctionRoutes);
    KeReleaseSpinLock(&JunctionLock, OldIrql);
    return Empty;
}

static ULONG NTAPI
JunctionCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return JunctionCount(JunctionLower);
}

static ULONG NTAPI
JunctionCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return JunctionCount(JunctionUpper);
}

static const JUNCTION_UPPER_DISPATCH JunctionUpperDispatch = { JunctionCountLower };
static const JUNCTION_LOWER_DISPATCH JunctionLowerDispatch = { JunctionCountUpper };

_Must_inspect_result_
static PJUNCTION_ROUTE
JunctionNewRoute(_In_ JUNCTION_SIDE Side, _In_ HANDLE BindingHandle)
{
    PJUNCTION_ROUTE Route;

    Route = (PJUNCTION_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), JUNCTION_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
JunctionPublish(_In_ PJUNCTION_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&JunctionLock, &OldIrql);
    InsertTailList(&JunctionRoutes, &Route->Link);
    KeReleaseSpinLock(&JunctionLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
JunctionUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PJUNCTION_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = JunctionNewRoute(JunctionUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    JunctionPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &JunctionUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
JunctionLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PJUNCTION_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = JunctionNewRoute(JunctionLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &JunctionLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, JUNCTION_POOL_TAG);
        return Status;
    }

    JunctionPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
JunctionDetach(PVOID BindingContext)
{
    PJUNCTION_ROUTE Route = (PJUNCTION_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&JunctionLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&JunctionLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
JunctionCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, JUNCTION_POOL_TAG);
}

_Use_decl_annotations_
static VOID
JunctionUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(JunctionUpperHandle);
    LowerStatus = NmrDeregisterClient(JunctionLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(JunctionUpperHandle);
    }
    // Defect: routes leave the list when their detach begins.
    if (LowerStatus == STATUS_PENDING && !JunctionIsEmpty()) {
        NmrWaitForClientDeregisterComplete(JunctionLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = JunctionUnload;
    KeInitializeSpinLock(&JunctionLock);
    InitializeListHead(&JunctionRoutes);

    Status = NmrRegisterProvider(&JunctionUpperCharacteristics, NULL, &JunctionUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&JunctionLowerCharacteristics, NULL, &JunctionLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(JunctionUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(JunctionUpperHandle);
        }
    }

    return Status;
}
