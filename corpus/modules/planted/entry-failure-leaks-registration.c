// nmrfuzz: module
// summary: Provider and client whose DriverEntry leaves the provider registered when the client cannot be.
// provides: 1
// consumes: 1
// expect: unload-registered
// rule: R24
// needs: second registration fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TUNNEL_POOL_TAG 'nnuT'

typedef enum _TUNNEL_SIDE { TunnelUpper, TunnelLower } TUNNEL_SIDE;

typedef struct _TUNNEL_ROUTE {
    LIST_ENTRY Link;
    TUNNEL_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} TUNNEL_ROUTE, *PTUNNEL_ROUTE;

typedef struct _TUNNEL_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} TUNNEL_UPPER_DISPATCH;

typedef struct _TUNNEL_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} TUNNEL_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TunnelUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TunnelUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN TunnelLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI TunnelDetach(_In_ PVOID BindingContext);
static VOID NTAPI TunnelCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID TunnelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5224a4aa, 0x3914, 0x5d71, { 0x8d, 0xfc, 0x7f, 0x44, 0x97, 0x12, 0x9d, 0x0a } } }
};
static const NPIID TunnelUpperNpiId =
    { 0x51a3ddb8, 0x5d1c, 0x582d, { 0x8c, 0x7c, 0x05, 0xf0, 0x64, 0xd0, 0x90, 0x0a } };
static const NPIID TunnelLowerNpiId =
    { 0xbd851b5e, 0x9e0f, 0x582b, { 0xb3, 0xaa, 0x0c, 0x33, 0x60, 0xe8, 0xa4, 0xc8 } };

static const NPI_PROVIDER_CHARACTERISTICS TunnelUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TunnelUpperAttach,
    TunnelDetach,
    TunnelCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TunnelUpperNpiId, &TunnelModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS TunnelLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TunnelLowerAttach,
    TunnelDetach,
    TunnelCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TunnelLowerNpiId, &TunnelModuleId, 0, NULL }
};

static HANDLE TunnelUpperHandle;
static HANDLE TunnelLowerHandle;
static KSPIN_LOCK TunnelLock;
_Guarded_by_(TunnelLock) static LIST_ENTRY TunnelRoutes;

static ULONG
TunnelCount(_In_ TUNNEL_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TunnelLock, &OldIrql);
    for (Entry = TunnelRoutes.Flink; Entry != &TunnelRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, TUNNEL_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&TunnelLock, OldIrql);
    return Count;
}

static ULONG NTAPI
TunnelCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return TunnelCount(TunnelLower);
}

static ULONG NTAPI
TunnelCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return TunnelCount(TunnelUpper);
}

static const TUNNEL_UPPER_DISPATCH TunnelUpperDispatch = { TunnelCountLower };
static const TUNNEL_LOWER_DISPATCH TunnelLowerDispatch = { TunnelCountUpper };

_Must_inspect_result_
static PTUNNEL_ROUTE
TunnelNewRoute(_In_ TUNNEL_SIDE Side, _In_ HANDLE BindingHandle)
{
    PTUNNEL_ROUTE Route;

    Route = (PTUNNEL_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), TUNNEL_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
TunnelPublish(_In_ PTUNNEL_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TunnelLock, &OldIrql);
    InsertTailList(&TunnelRoutes, &Route->Link);
    KeReleaseSpinLock(&TunnelLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TunnelUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTUNNEL_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = TunnelNewRoute(TunnelUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    TunnelPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &TunnelUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TunnelLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTUNNEL_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = TunnelNewRoute(TunnelLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &TunnelLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, TUNNEL_POOL_TAG);
        return Status;
    }

    TunnelPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TunnelDetach(PVOID BindingContext)
{
    PTUNNEL_ROUTE Route = (PTUNNEL_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TunnelLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&TunnelLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TunnelCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, TUNNEL_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TunnelUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(TunnelUpperHandle);
    LowerStatus = NmrDeregisterClient(TunnelLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TunnelUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TunnelLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TunnelUnload;
    KeInitializeSpinLock(&TunnelLock);
    InitializeListHead(&TunnelRoutes);

    Status = NmrRegisterProvider(&TunnelUpperCharacteristics, NULL, &TunnelUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&TunnelLowerCharacteristics, NULL, &TunnelLowerHandle);

    // Defect: on failure the provider stays registered, and Unload will not be called.
    return Status;
}
