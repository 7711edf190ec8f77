// nmrfuzz: module
// summary: Provider whose timer DPC takes expired leases off a list, under a lock that its detach callback does without.
// provides: 1
// consumes: 0
// expect: use-after-free, data-race
// rule: none
// needs: the DPC frees a lease while the detach callback counts them
// interleaving: yes
// hardness: 23 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PHALAROPE_POOL_TAG 'lahP'
#define PHALAROPE_LEASE_TIME (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _PHALAROPE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} PHALAROPE_PROVIDER_DISPATCH;

typedef struct _PHALAROPE_LEASE {
    LIST_ENTRY Link;
    PVOID Owner; // the client, to be compared only
} PHALAROPE_LEASE, *PPHALAROPE_LEASE;

typedef struct _PHALAROPE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} PHALAROPE_CLIENT, *PPHALAROPE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PhalaropeUnload;
static KDEFERRED_ROUTINE PhalaropeDpcRoutine;
static NPI_PROVIDER_ATTACH_CLIENT_FN PhalaropeAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PhalaropeDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PhalaropeCleanupBindingContext;

static const NPIID PhalaropeNpiId = { 0x167289c3, 0x288a, 0x50c3, { 0x91, 0x13, 0x96, 0xee, 0x9f, 0xb0, 0xcb, 0x6e } };
static const NPI_MODULEID PhalaropeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfbe33dbc, 0x1e9e, 0x5fbc, { 0xb2, 0x85, 0x15, 0x37, 0xf4, 0x48, 0x2c, 0x60 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PhalaropeCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PhalaropeAttachClient,
    PhalaropeDetachClient,
    PhalaropeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PhalaropeNpiId, &PhalaropeModuleId, 0, NULL }
};

static HANDLE PhalaropeProviderHandle;
static KTIMER PhalaropeTimer;
static KDPC PhalaropeDpc;
static KSPIN_LOCK PhalaropeLock;
static LIST_ENTRY PhalaropeLeases;
static LONG PhalaropeLeasesLeftBehind;
static LONG PhalaropeTraced;

static ULONG NTAPI
PhalaropeVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const PHALAROPE_PROVIDER_DISPATCH PhalaropeDispatch = { PhalaropeVersion };

// The number of the next line in the log.
static VOID
PhalaropeTrace(VOID)
{
    InterlockedIncrement(&PhalaropeTraced);
}

// Ends all leases: the timer is set anew with each, so the youngest is as old as that.
static VOID
PhalaropeExpireLeases(VOID)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    PhalaropeTrace();
    KeAcquireSpinLock(&PhalaropeLock, &OldIrql);
    while (!IsListEmpty(&PhalaropeLeases)) {
        Entry = RemoveHeadList(&PhalaropeLeases);
        ExFreePoolWithTag(CONTAINING_RECORD(Entry, PHALAROPE_LEASE, Link), PHALAROPE_POOL_TAG);
    }
    KeReleaseSpinLock(&PhalaropeLock, OldIrql);
    PhalaropeTrace();
}

_Use_decl_annotations_
static VOID
PhalaropeDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    PhalaropeExpireLeases();
}

static VOID
PhalaropeAddLease(_In_ PPHALAROPE_LEASE Lease)
{
    LARGE_INTEGER DueTime;
    KIRQL OldIrql;

    PhalaropeTrace();
    KeAcquireSpinLock(&PhalaropeLock, &OldIrql);
    InsertTailList(&PhalaropeLeases, &Lease->Link);
    KeReleaseSpinLock(&PhalaropeLock, OldIrql);
    PhalaropeTrace();

    DueTime.QuadPart = PHALAROPE_LEASE_TIME;
    KeSetTimer(&PhalaropeTimer, DueTime, &PhalaropeDpc);
}

static LONG
PhalaropeCountLeases(_In_ PPHALAROPE_CLIENT Client)
{
    LONG Count = 0;
    PLIST_ENTRY Entry;

    PhalaropeTrace();

    // Defect: the list is walked without the lock.
    for (Entry = PhalaropeLeases.Flink; Entry != &PhalaropeLeases; Entry = Entry->Flink) {
        Count += CONTAINING_RECORD(Entry, PHALAROPE_LEASE, Link)->Owner == Client ? 1 : 0;
    }
    PhalaropeTrace();
    return Count;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PhalaropeAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPHALAROPE_CLIENT Client;
    PPHALAROPE_LEASE Lease;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPHALAROPE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PHALAROPE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Lease = (PPHALAROPE_LEASE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Lease), PHALAROPE_POOL_TAG);
    if (Lease == NULL) {
        ExFreePoolWithTag(Client, PHALAROPE_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    Lease->Owner = Client;
    PhalaropeAddLease(Lease);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PhalaropeDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PhalaropeDetachClient(PVOID ProviderBindingContext)
{
    PPHALAROPE_CLIENT Client = (PPHALAROPE_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd(&PhalaropeLeasesLeftBehind, PhalaropeCountLeases(Client));
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PhalaropeCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PHALAROPE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
PhalaropeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PhalaropeProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PhalaropeProviderHandle);
    }

    KeCancelTimer(&PhalaropeTimer);
    KeFlushQueuedDpcs();
    PhalaropeExpireLeases();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PhalaropeUnload;
    KeInitializeTimer(&PhalaropeTimer);
    KeInitializeDpc(&PhalaropeDpc, PhalaropeDpcRoutine, NULL);
    KeInitializeSpinLock(&PhalaropeLock);
    InitializeListHead(&PhalaropeLeases);
    return NmrRegisterProvider(&PhalaropeCharacteristics, NULL, &PhalaropeProviderHandle);
}
