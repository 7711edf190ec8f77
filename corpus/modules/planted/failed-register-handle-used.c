// nmrfuzz: module
// summary: Provider and optional client whose Unload tells by the handle whether the client was ever registered.
// provides: 1
// consumes: 1
// expect: bad-handle
// rule: R21, R22
// needs: second registration fails and leaves something in the handle
// interleaving: no
// hardness: 126 schedules; 1000+ run to completion

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define CAUSEWAY_POOL_TAG 'suaC'

typedef enum _CAUSEWAY_SIDE { CausewayUpper, CausewayLower } CAUSEWAY_SIDE;

typedef struct _CAUSEWAY_ROUTE {
    LIST_ENTRY Link;
    CAUSEWAY_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} CAUSEWAY_ROUTE, *PCAUSEWAY_ROUTE;

typedef struct _CAUSEWAY_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} CAUSEWAY_UPPER_DISPATCH;

typedef struct _CAUSEWAY_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} CAUSEWAY_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CausewayUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN CausewayUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN CausewayLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI CausewayDetach(_In_ PVOID BindingContext);
static VOID NTAPI CausewayCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID CausewayModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0b073a6c, 0x6fd1, 0x5082, { 0x80, 0x45, 0x99, 0x65, 0x0b, 0x54, 0x2a, 0xcb } } }
};
static const NPIID CausewayUpperNpiId =
    { 0x167af6c7, 0xedfc, 0x5e22, { 0x8c, 0x56, 0xc5, 0x76, 0x28, 0xfb, 0xd6, 0x53 } };
static const NPIID CausewayLowerNpiId =
    { 0x23cd69af, 0x8219, 0x520f, { 0xae, 0x18, 0xc3, 0x48, 0x58, 0x06, 0x76, 0x6d } };

static const NPI_PROVIDER_CHARACTERISTICS CausewayUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CausewayUpperAttach,
    CausewayDetach,
    CausewayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CausewayUpperNpiId, &CausewayModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS CausewayLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CausewayLowerAttach,
    CausewayDetach,
    CausewayCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CausewayLowerNpiId, &CausewayModuleId, 0, NULL }
};

static HANDLE CausewayUpperHandle;
static HANDLE CausewayLowerHandle;
static KSPIN_LOCK CausewayLock;
_Guarded_by_(CausewayLock) static LIST_ENTRY CausewayRoutes;

static ULONG
CausewayCount(_In_ CAUSEWAY_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CausewayLock, &OldIrql);
    for (Entry = CausewayRoutes.Flink; Entry != &CausewayRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, CAUSEWAY_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&CausewayLock, OldIrql);
    return Count;
}

static ULONG NTAPI
CausewayCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return CausewayCount(CausewayLower);
}

static ULONG NTAPI
CausewayCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return CausewayCount(CausewayUpper);
}

static const CAUSEWAY_UPPER_DISPATCH CausewayUpperDispatch = { CausewayCountLower };
static const CAUSEWAY_LOWER_DISPATCH CausewayLowerDispatch = { CausewayCountUpper };

_Must_inspect_result_
static PCAUSEWAY_ROUTE
CausewayNewRoute(_In_ CAUSEWAY_SIDE Side, _In_ HANDLE BindingHandle)
{
    PCAUSEWAY_ROUTE Route;

    Route = (PCAUSEWAY_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), CAUSEWAY_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
CausewayPublish(_In_ PCAUSEWAY_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CausewayLock, &OldIrql);
    InsertTailList(&CausewayRoutes, &Route->Link);
    KeReleaseSpinLock(&CausewayLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CausewayUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCAUSEWAY_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = CausewayNewRoute(CausewayUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    CausewayPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &CausewayUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CausewayLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCAUSEWAY_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = CausewayNewRoute(CausewayLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &CausewayLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, CAUSEWAY_POOL_TAG);
        return Status;
    }

    CausewayPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CausewayDetach(PVOID BindingContext)
{
    PCAUSEWAY_ROUTE Route = (PCAUSEWAY_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CausewayLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&CausewayLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CausewayCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, CAUSEWAY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
CausewayUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(CausewayUpperHandle);
    // Defect: nothing is said about the handle after a failed registration.
    LowerStatus = STATUS_SUCCESS;
    if (CausewayLowerHandle != NULL) {
        LowerStatus = NmrDeregisterClient(CausewayLowerHandle);
    }

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CausewayUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CausewayLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CausewayUnload;
    KeInitializeSpinLock(&CausewayLock);
    InitializeListHead(&CausewayRoutes);

    Status = NmrRegisterProvider(&CausewayUpperCharacteristics, NULL, &CausewayUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // Without the lower side there is less to tell, which is no reason to fail.
    (VOID)NmrRegisterClient(&CausewayLowerCharacteristics, NULL, &CausewayLowerHandle);
    return STATUS_SUCCESS;
}
