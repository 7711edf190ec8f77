// nmrfuzz: module
// summary: Provider and client whose Unload waits for the provider with the client handle.
// provides: 1
// consumes: 1
// expect: bad-handle
// rule: R101, R91
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SPLICE_POOL_TAG 'ilpS'

typedef enum _SPLICE_SIDE { SpliceUpper, SpliceLower } SPLICE_SIDE;

typedef struct _SPLICE_ROUTE {
    LIST_ENTRY Link;
    SPLICE_SIDE Side;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} SPLICE_ROUTE, *PSPLICE_ROUTE;

typedef struct _SPLICE_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} SPLICE_UPPER_DISPATCH;

typedef struct _SPLICE_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} SPLICE_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SpliceUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN SpliceUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN SpliceLowerAttach;

// One function serves both roles: a context is all that detach and cleanup are given, and both are routes.
static NTSTATUS NTAPI SpliceDetach(_In_ PVOID BindingContext);
static VOID NTAPI SpliceCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID SpliceModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0950db29, 0xaae9, 0x5e7a, { 0xa6, 0xa6, 0xf5, 0x1e, 0x11, 0xa1, 0x19, 0xe7 } } }
};
static const NPIID SpliceUpperNpiId =
    { 0xb76a50da, 0xabef, 0x5b7e, { 0x9a, 0x6f, 0x6e, 0xf0, 0xdd, 0x66, 0x3c, 0xa6 } };
static const NPIID SpliceLowerNpiId =
    { 0x39d6fdaf, 0x2e00, 0x5f1d, { 0x82, 0x3f, 0x69, 0x0e, 0x03, 0xef, 0xc5, 0xef } };

static const NPI_PROVIDER_CHARACTERISTICS SpliceUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SpliceUpperAttach,
    SpliceDetach,
    SpliceCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SpliceUpperNpiId, &SpliceModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS SpliceLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SpliceLowerAttach,
    SpliceDetach,
    SpliceCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SpliceLowerNpiId, &SpliceModuleId, 0, NULL }
};

static HANDLE SpliceUpperHandle;
static HANDLE SpliceLowerHandle;
static KSPIN_LOCK SpliceLock;
_Guarded_by_(SpliceLock) static LIST_ENTRY SpliceRoutes;

static ULONG
SpliceCount(_In_ SPLICE_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SpliceLock, &OldIrql);
    for (Entry = SpliceRoutes.Flink; Entry != &SpliceRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, SPLICE_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&SpliceLock, OldIrql);
    return Count;
}

static ULONG NTAPI
SpliceCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return SpliceCount(SpliceLower);
}

static ULONG NTAPI
SpliceCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return SpliceCount(SpliceUpper);
}

static const SPLICE_UPPER_DISPATCH SpliceUpperDispatch = { SpliceCountLower };
static const SPLICE_LOWER_DISPATCH SpliceLowerDispatch = { SpliceCountUpper };

_Must_inspect_result_
static PSPLICE_ROUTE
SpliceNewRoute(_In_ SPLICE_SIDE Side, _In_ HANDLE BindingHandle)
{
    PSPLICE_ROUTE Route;

    Route = (PSPLICE_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), SPLICE_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
SplicePublish(_In_ PSPLICE_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&SpliceLock, &OldIrql);
    InsertTailList(&SpliceRoutes, &Route->Link);
    KeReleaseSpinLock(&SpliceLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpliceUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSPLICE_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = SpliceNewRoute(SpliceUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    SplicePublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &SpliceUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpliceLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSPLICE_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = SpliceNewRoute(SpliceLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &SpliceLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, SPLICE_POOL_TAG);
        return Status;
    }

    SplicePublish(Route);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpliceDetach(PVOID BindingContext)
{
    PSPLICE_ROUTE Route = (PSPLICE_ROUTE)BindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SpliceLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    KeReleaseSpinLock(&SpliceLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SpliceCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, SPLICE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
SpliceUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    UpperStatus = NmrDeregisterProvider(SpliceUpperHandle);
    LowerStatus = NmrDeregisterClient(SpliceLowerHandle);

    if (UpperStatus == STATUS_PENDING) {
        // Defect: a client handle for the provider's wait.
        NmrWaitForProviderDeregisterComplete(SpliceLowerHandle);
    }
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SpliceLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SpliceUnload;
    KeInitializeSpinLock(&SpliceLock);
    InitializeListHead(&SpliceRoutes);

    Status = NmrRegisterProvider(&SpliceUpperCharacteristics, NULL, &SpliceUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&SpliceLowerCharacteristics, NULL, &SpliceLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(SpliceUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(SpliceUpperHandle);
        }
    }

    return Status;
}
