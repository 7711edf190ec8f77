// nmrfuzz: module
// summary: Provider whose detaches last until its own lower bindings are gone, and whose Unload waits for the provider before it deregisters the client.
// provides: 1
// consumes: 1
// expect: deadlock
// rule: R107
// needs: a client and a lower provider are both attached at unload
// interleaving: no
// hardness: 1 schedules; 7 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LADDER_POOL_TAG 'ddaL'

typedef enum _LADDER_SIDE { LadderUpper, LadderLower } LADDER_SIDE;

typedef struct _LADDER_ROUTE {
    LIST_ENTRY Link;
    LADDER_SIDE Side;
    HANDLE BindingHandle;
    BOOLEAN DetachPending; // Upper side only: waits for the last lower route.
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} LADDER_ROUTE, *PLADDER_ROUTE;

typedef struct _LADDER_UPPER_DISPATCH {
    ULONG(NTAPI *CountLower)(_In_ PVOID ProviderBindingContext);
} LADDER_UPPER_DISPATCH;

typedef struct _LADDER_LOWER_DISPATCH {
    ULONG(NTAPI *CountUpper)(_In_ PVOID ClientBindingContext);
} LADDER_LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LadderUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN LadderUpperAttach;
static NPI_CLIENT_ATTACH_PROVIDER_FN LadderLowerAttach;

static NTSTATUS NTAPI LadderUpperDetach(_In_ PVOID BindingContext);
static NTSTATUS NTAPI LadderLowerDetach(_In_ PVOID BindingContext);
static VOID NTAPI LadderCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID LadderModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd23dceed, 0xe02f, 0x5cdf, { 0x86, 0x6c, 0x43, 0xed, 0x51, 0x7b, 0x48, 0xf6 } } }
};
static const NPIID LadderUpperNpiId =
    { 0x0e3b98cc, 0xb8c2, 0x5466, { 0xa2, 0xca, 0x07, 0x30, 0x3f, 0xf4, 0x1c, 0x59 } };
static const NPIID LadderLowerNpiId =
    { 0x06296b02, 0x5b4d, 0x5dc9, { 0xbb, 0x74, 0x2c, 0x54, 0x48, 0xdf, 0xd4, 0x79 } };

static const NPI_PROVIDER_CHARACTERISTICS LadderUpperCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LadderUpperAttach,
    LadderUpperDetach,
    LadderCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LadderUpperNpiId, &LadderModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS LadderLowerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LadderLowerAttach,
    LadderLowerDetach,
    LadderCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LadderLowerNpiId, &LadderModuleId, 0, NULL }
};

static HANDLE LadderUpperHandle;
static HANDLE LadderLowerHandle;
static KSPIN_LOCK LadderLock;
_Guarded_by_(LadderLock) static LIST_ENTRY LadderRoutes;

static ULONG
LadderCount(_In_ LADDER_SIDE Side)
{
    PLIST_ENTRY Entry;
    ULONG Count = 0;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LadderLock, &OldIrql);
    for (Entry = LadderRoutes.Flink; Entry != &LadderRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, LADDER_ROUTE, Link)->Side == Side) {
            Count++;
        }
    }
    KeReleaseSpinLock(&LadderLock, OldIrql);
    return Count;
}

static ULONG NTAPI
LadderCountLower(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return LadderCount(LadderLower);
}

static ULONG NTAPI
LadderCountUpper(_In_ PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);
    return LadderCount(LadderUpper);
}

static const LADDER_UPPER_DISPATCH LadderUpperDispatch = { LadderCountLower };
static const LADDER_LOWER_DISPATCH LadderLowerDispatch = { LadderCountUpper };

_Must_inspect_result_
static PLADDER_ROUTE
LadderNewRoute(_In_ LADDER_SIDE Side, _In_ HANDLE BindingHandle)
{
    PLADDER_ROUTE Route;

    Route = (PLADDER_ROUTE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Route), LADDER_POOL_TAG);
    if (Route != NULL) {
        Route->Side = Side;
        Route->BindingHandle = BindingHandle;
    }
    return Route;
}

static VOID
LadderPublish(_In_ PLADDER_ROUTE Route)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&LadderLock, &OldIrql);
    InsertTailList(&LadderRoutes, &Route->Link);
    KeReleaseSpinLock(&LadderLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LadderUpperAttach(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLADDER_ROUTE Route;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Route = LadderNewRoute(LadderUpper, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Route->PeerContext = ClientBindingContext;
    Route->PeerDispatch = ClientDispatch;
    LadderPublish(Route);

    *ProviderBindingContext = Route;
    *ProviderDispatch = &LadderUpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LadderLowerAttach(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLADDER_ROUTE Route;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Route = LadderNewRoute(LadderLower, NmrBindingHandle);
    if (Route == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Route, &LadderLowerDispatch, &Route->PeerContext, &Route->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Route, LADDER_POOL_TAG);
        return Status;
    }

    LadderPublish(Route);
    return STATUS_SUCCESS;
}

// TRUE while a lower route is up, and with it calls of upper clients that are being forwarded.
_Requires_lock_held_(LadderLock)
static BOOLEAN
LadderHasLower(VOID)
{
    PLIST_ENTRY Entry;

    for (Entry = LadderRoutes.Flink; Entry != &LadderRoutes; Entry = Entry->Flink) {
        if (CONTAINING_RECORD(Entry, LADDER_ROUTE, Link)->Side == LadderLower) {
            return TRUE;
        }
    }
    return FALSE;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LadderUpperDetach(PVOID BindingContext)
{
    PLADDER_ROUTE Route = (PLADDER_ROUTE)BindingContext;
    BOOLEAN Pending;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LadderLock, &OldIrql);
    Pending = LadderHasLower();
    if (Pending) {
        Route->DetachPending = TRUE;
    } else {
        RemoveEntryList(&Route->Link);
    }
    KeReleaseSpinLock(&LadderLock, OldIrql);

    return Pending ? STATUS_PENDING : STATUS_SUCCESS;
}

// The last lower route to go completes the detaches that waited for it.
_Use_decl_annotations_
static NTSTATUS NTAPI
LadderLowerDetach(PVOID BindingContext)
{
    PLADDER_ROUTE Route = (PLADDER_ROUTE)BindingContext;
    LIST_ENTRY Completed;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    InitializeListHead(&Completed);

    KeAcquireSpinLock(&LadderLock, &OldIrql);
    RemoveEntryList(&Route->Link);
    if (!LadderHasLower()) {
        for (Entry = LadderRoutes.Flink; Entry != &LadderRoutes;) {
            PLADDER_ROUTE Upper = CONTAINING_RECORD(Entry, LADDER_ROUTE, Link);

            Entry = Entry->Flink;
            if (Upper->DetachPending) {
                RemoveEntryList(&Upper->Link);
                InsertTailList(&Completed, &Upper->Link);
            }
        }
    }
    KeReleaseSpinLock(&LadderLock, OldIrql);

    while (!IsListEmpty(&Completed)) {
        PLADDER_ROUTE Upper = CONTAINING_RECORD(RemoveHeadList(&Completed), LADDER_ROUTE, Link);

        NmrProviderDetachClientComplete(Upper->BindingHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LadderCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, LADDER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LadderUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS UpperStatus;
    NTSTATUS LowerStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: the upper detaches end only when the lower side has gone, which is begun only after this wait.
    UpperStatus = NmrDeregisterProvider(LadderUpperHandle);
    if (UpperStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LadderUpperHandle);
    }

    LowerStatus = NmrDeregisterClient(LadderLowerHandle);
    if (LowerStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LadderLowerHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LadderUnload;
    KeInitializeSpinLock(&LadderLock);
    InitializeListHead(&LadderRoutes);

    Status = NmrRegisterProvider(&LadderUpperCharacteristics, NULL, &LadderUpperHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&LadderLowerCharacteristics, NULL, &LadderLowerHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(LadderUpperHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(LadderUpperHandle);
        }
    }

    return Status;
}
