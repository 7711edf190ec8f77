// nmrfuzz: module
// summary: Provider and client whose DriverEntry succeeds if its second registration does, whatever the first did.
// provides: 1
// consumes: 1
// expect: bad-handle
// rule: R21, R27
// needs: first registration fails and the second one succeeds
// interleaving: no
// hardness: 56 schedules; 1000+ run to completion

// The upper binding (we provide) and the lower one (we consume) share a list of routes. Neither side's detach waits for
// the other, and both registrations are told to end before either is waited for.

#include <ntddk.h>
#include <netioddk.h>

#define BALLISTA_POOL_TAG 'llaB'

typedef enum _BALLISTA_SIDE { BallistaUpper, BallistaLower } BALLISTA_SIDE;

typedef struct _BALLISTA_ROUTE {
    LIST_ENTRY Link;
    BALLISTA_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} BALLISTA_ROUTE, *PBALLISTA_ROUTE;

typedef struct _BALLISTA_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} BALLISTA_UPPER_DISPATCH;

typedef struct _BALLISTA_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} BALLISTA_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BallistaUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN BallistaUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN BallistaLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI BallistaDetach(_In_ PVOID BindingContext);
static VOID NTAPI BallistaCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID BallistaModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x2f3ffad3, 0x4e4f, 0x50b9, { 0xa1, 0x74, 0x60, 0xbb, 0x9b, 0x32, 0x9e, 0x12 } } }
};
static const NPIID BallistaUpperNpiId =
    { 0x1f914aca, 0xa182, 0x50aa, { 0xb6, 0x73, 0x39, 0x6d, 0x35, 0xa5, 0xac, 0xf5 } };
static const NPIID BallistaLowerNpiId =
    { 0x1187754d, 0xf2d7, 0x570c, { 0x89, 0xac, 0x62, 0xc3, 0x24, 0x59, 0x51, 0xe3 } };

static const NPI_PROVIDER_CHARACTERISTICS BallistaUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BallistaUpperAttach,
    BallistaDetach,
    BallistaCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BallistaUpperNpiId, &BallistaModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS BallistaLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BallistaLowerAttach,
    BallistaDetach,
    BallistaCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BallistaLowerNpiId, &BallistaModuleId, 0, NULL }
};

static HANDLE BallistaUpperHandle;
static HANDLE BallistaLowerHandle;
static KSPIN_LOCK BallistaLock;
_Guarded_by_(BallistaLock) static LIST_ENTRY BallistaRoutes;

static ULONG
BallistaCount(_In_ BALLISTA_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BallistaLock, &OldIrql);
    for (Entry = BallistaRoutes.Flink; Entry != &BallistaRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, BALLISTA_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&BallistaLock, OldIrql);
    return Count;
}

static ULONG NTAPI
BallistaCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return BallistaCount(BallistaLower);
}

static ULONG NTAPI
BallistaCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return BallistaCount(BallistaUpper);
}

static const BALLISTA_UPPER_DISPATCH BallistaUpperDispatch = { BallistaCountLower };
static const BALLISTA_LOWER_DISPATCH BallistaLowerDispatch = { BallistaCountUpper };

_Must_inspect_result_
static PBALLISTA_ROUTE
BallistaNewRoute(_In_ BALLISTA_SIDE Side, _In_ HANDLE BindingHandle)
{
    PBALLISTA_ROUTE Route;

    Route = (PBALLISTA_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), BALLISTA_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
BallistaPublish(_In_ PBALLISTA_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&BallistaLock, &OldIrql);
    InsertTailList(&BallistaRoutes, &Route->Link);
    KeReleaseSpinLock(&BallistaLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBALLISTA_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = BallistaNewRoute(BallistaUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    BallistaPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &BallistaUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBALLISTA_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = BallistaNewRoute(BallistaLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &BallistaLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, BALLISTA_POOL_TAG);
        return Status;
    }

    BallistaPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaDetach(PVOID BindingContext)
{
    PBALLISTA_ROUTE Route = (PBALLISTA_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BallistaLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&BallistaLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BallistaCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, BALLISTA_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BallistaUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(BallistaUpperHandle);
    LowerStatus = NmrDeregisterClient(BallistaLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BallistaUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BallistaLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BallistaUnload;
    KeInitializeSpinLock(&BallistaLock);
    InitializeListHead(&BallistaRoutes);

    UpperStatus = NmrRegisterProvider(&BallistaUpperCharacteristics, NULL, &BallistaUpperHandle);
    LowerStatus = NmrRegisterClient(&BallistaLowerCharacteristics, NULL, &BallistaLowerHandle);
    if (NT_SUCCESS(UpperStatus) && !NT_SUCCESS(LowerStatus)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(BallistaUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(BallistaUpperHandle);
        }
    }

    // Defect: the first status is lost, and Unload will end a registration that was never made.
    return LowerStatus;
}
