// nmrfuzz: module
// summary: Provider and client whose DriverEntry undoes both registrations when the second one was never made.
// provides: 1
// consumes: 1
// expect: bad-handle
// rule: R27, R21
// needs: second registration fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define VIADUCT_POOL_TAG 'daiV'

typedef enum _VIADUCT_SIDE { ViaductUpper, ViaductLower } VIADUCT_SIDE;

typedef struct _VIADUCT_ROUTE {
    LIST_ENTRY Link;
    VIADUCT_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} VIADUCT_ROUTE, *PVIADUCT_ROUTE;

typedef struct _VIADUCT_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} VIADUCT_UPPER_DISPATCH;

typedef struct _VIADUCT_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} VIADUCT_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ViaductUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ViaductUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN ViaductLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI ViaductDetach(_In_ PVOID BindingContext);
static VOID NTAPI ViaductCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID ViaductModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa476782f, 0x58c4, 0x583c, { 0xa7, 0xf9, 0xcb, 0x94, 0xc9, 0x4e, 0xd6, 0x77 } } }
};
static const NPIID ViaductUpperNpiId =
    { 0x158ef348, 0x6ea2, 0x5a82, { 0xbc, 0xf1, 0x26, 0x91, 0x0e, 0x70, 0xe8, 0x60 } };
static const NPIID ViaductLowerNpiId =
    { 0x206ab889, 0x45ea, 0x5ac2, { 0xab, 0x85, 0xb5, 0x4b, 0xb8, 0xbc, 0x53, 0xab } };

static const NPI_PROVIDER_CHARACTERISTICS ViaductUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ViaductUpperAttach,
    ViaductDetach,
    ViaductCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ViaductUpperNpiId, &ViaductModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS ViaductLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ViaductLowerAttach,
    ViaductDetach,
    ViaductCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ViaductLowerNpiId, &ViaductModuleId, 0, NULL }
};

static HANDLE ViaductUpperHandle;
static HANDLE ViaductLowerHandle;
static KSPIN_LOCK ViaductLock;
_Guarded_by_(ViaductLock) static LIST_ENTRY ViaductRoutes;

static ULONG
ViaductCount(_In_ VIADUCT_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ViaductLock, &OldIrql);
    for (Entry = ViaductRoutes.Flink; Entry != &ViaductRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, VIADUCT_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&ViaductLock, OldIrql);
    return Count;
}

static ULONG NTAPI
ViaductCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return ViaductCount(ViaductLower);
}

static ULONG NTAPI
ViaductCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return ViaductCount(ViaductUpper);
}

static const VIADUCT_UPPER_DISPATCH ViaductUpperDispatch = { ViaductCountLower };
static const VIADUCT_LOWER_DISPATCH ViaductLowerDispatch = { ViaductCountUpper };

_Must_inspect_result_
static PVIADUCT_ROUTE
ViaductNewRoute(_In_ VIADUCT_SIDE Side, _In_ HANDLE BindingHandle)
{
    PVIADUCT_ROUTE Route;

    Route = (PVIADUCT_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), VIADUCT_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
ViaductPublish(_In_ PVIADUCT_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&ViaductLock, &OldIrql);
    InsertTailList(&ViaductRoutes, &Route->Link);
    KeReleaseSpinLock(&ViaductLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ViaductUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PVIADUCT_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = ViaductNewRoute(ViaductUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    ViaductPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &ViaductUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ViaductLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PVIADUCT_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = ViaductNewRoute(ViaductLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &ViaductLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, VIADUCT_POOL_TAG);
        return Status;
    }

    ViaductPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ViaductDetach(PVOID BindingContext)
{
    PVIADUCT_ROUTE Route = (PVIADUCT_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ViaductLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&ViaductLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ViaductCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, VIADUCT_POOL_TAG);
}

static VOID
ViaductDeregister(VOID)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UpperStatus = NmrDeregisterProvider(ViaductUpperHandle);
    LowerStatus = NmrDeregisterClient(ViaductLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ViaductUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ViaductLowerHandle);
    }
}

_Use_decl_annotations_
static VOID
ViaductUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    ViaductDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ViaductUnload;
    KeInitializeSpinLock(&ViaductLock);
    InitializeListHead(&ViaductRoutes);

    Status = NmrRegisterProvider(&ViaductUpperCharacteristics, NULL, &ViaductUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&ViaductLowerCharacteristics, NULL, &ViaductLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // Defect: there is no client registration to end.
        ViaductDeregister();
    }

    return Status;
}
