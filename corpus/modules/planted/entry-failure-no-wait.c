// nmrfuzz: module
// summary: Provider and client whose DriverEntry, when the client cannot be registered, ends the provider without waiting.
// provides: 1
// consumes: 1
// expect: unload-pending
// rule: R25
// needs: second registration fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TRUNK_POOL_TAG 'knrT'

typedef enum _TRUNK_SIDE { TrunkUpper, TrunkLower } TRUNK_SIDE;

typedef struct _TRUNK_ROUTE {
    LIST_ENTRY Link;
    TRUNK_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} TRUNK_ROUTE, *PTRUNK_ROUTE;

typedef struct _TRUNK_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} TRUNK_UPPER_DISPATCH;

typedef struct _TRUNK_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} TRUNK_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TrunkUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TrunkUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN TrunkLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI TrunkDetach(_In_ PVOID BindingContext);
static VOID NTAPI TrunkCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID TrunkModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x77b94950, 0x57df, 0x5f4b, { 0xb1, 0x7d, 0xe7, 0x1f, 0x83, 0xc6, 0x6c, 0x1d } } }
};
static const NPIID TrunkUpperNpiId = { 0xf56ced32, 0xe4ab, 0x5b77, { 0xb8, 0xea, 0xd7, 0xe9, 0x3d, 0xba, 0xf6, 0xf6 } };
static const NPIID TrunkLowerNpiId = { 0x22f96dd2, 0xffbf, 0x5a7d, { 0xae, 0x78, 0x2f, 0x75, 0xac, 0x76, 0xde, 0x8a } };

static const NPI_PROVIDER_CHARACTERISTICS TrunkUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TrunkUpperAttach,
    TrunkDetach,
    TrunkCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TrunkUpperNpiId, &TrunkModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS TrunkLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TrunkLowerAttach,
    TrunkDetach,
    TrunkCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TrunkLowerNpiId, &TrunkModuleId, 0, NULL }
};

static HANDLE TrunkUpperHandle;
static HANDLE TrunkLowerHandle;
static KSPIN_LOCK TrunkLock;
_Guarded_by_(TrunkLock) static LIST_ENTRY TrunkRoutes;

static ULONG
TrunkCount(_In_ TRUNK_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TrunkLock, &OldIrql);
    for (Entry = TrunkRoutes.Flink; Entry != &TrunkRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, TRUNK_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&TrunkLock, OldIrql);
    return Count;
}

static ULONG NTAPI
TrunkCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return TrunkCount(TrunkLower);
}

static ULONG NTAPI
TrunkCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return TrunkCount(TrunkUpper);
}

static const TRUNK_UPPER_DISPATCH TrunkUpperDispatch = { TrunkCountLower };
static const TRUNK_LOWER_DISPATCH TrunkLowerDispatch = { TrunkCountUpper };

_Must_inspect_result_
static PTRUNK_ROUTE
TrunkNewRoute(_In_ TRUNK_SIDE Side, _In_ HANDLE BindingHandle)
{
    PTRUNK_ROUTE Route;

    Route = (PTRUNK_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), TRUNK_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
TrunkPublish(_In_ PTRUNK_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&TrunkLock, &OldIrql);
    InsertTailList(&TrunkRoutes, &Route->Link);
    KeReleaseSpinLock(&TrunkLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TrunkUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTRUNK_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = TrunkNewRoute(TrunkUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    TrunkPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &TrunkUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TrunkLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTRUNK_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = TrunkNewRoute(TrunkLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &TrunkLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, TRUNK_POOL_TAG);
        return Status;
    }

    TrunkPublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TrunkDetach(PVOID BindingContext)
{
    PTRUNK_ROUTE Route = (PTRUNK_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TrunkLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&TrunkLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TrunkCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, TRUNK_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TrunkUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(TrunkUpperHandle);
    LowerStatus = NmrDeregisterClient(TrunkLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TrunkUpperHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TrunkLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TrunkUnload;
    KeInitializeSpinLock(&TrunkLock);
    InitializeListHead(&TrunkRoutes);

    Status = NmrRegisterProvider(&TrunkUpperCharacteristics, NULL, &TrunkUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&TrunkLowerCharacteristics, NULL, &TrunkLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // Defect: begun but not waited for; returning the failure removes the image.
        NmrDeregisterProvider(TrunkUpperHandle);
    }

    return Status;
}
