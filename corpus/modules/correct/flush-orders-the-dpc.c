// nmrfuzz: module
// summary: Client whose Unload cancels the timer and flushes the DPCs; nothing else orders it behind the DPC.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The DPC and Unload share plain data without a lock: a cancelled timer queues no DPC any more, and the flush waits for
// the one that was queued before. What attach callbacks wrote goes to the DPC with the timer.

#include <ntddk.h>
#include <netioddk.h>

#define BUNTING_POOL_TAG 'tnuB'
#define BUNTING_INTERVAL (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _BUNTING_SETTINGS {
    ULONG Weight;
    ULONG Limit;
} BUNTING_SETTINGS, *PBUNTING_SETTINGS;

typedef struct _BUNTING_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
} BUNTING_BINDING, *PBUNTING_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BuntingUnload;
static KDEFERRED_ROUTINE BuntingDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN BuntingAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BuntingDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BuntingCleanupBindingContext;

static const NPIID BuntingNpiId = { 0x0f0d6913, 0x15d1, 0x54d0, { 0xaf, 0xb9, 0x7a, 0xd5, 0x3f, 0xa5, 0x28, 0xad } };
static const NPI_MODULEID BuntingModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8362abf6, 0x9c90, 0x5177, { 0x99, 0xc6, 0xf3, 0x1e, 0x3c, 0xa4, 0xde, 0xdf } } }
};

static const NPI_CLIENT_CHARACTERISTICS BuntingCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BuntingAttachProvider,
    BuntingDetachProvider,
    BuntingCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BuntingNpiId, &BuntingModuleId, 0, NULL }
};

static HANDLE BuntingClientHandle;
static KTIMER BuntingTimer;
static KDPC BuntingDpc;
static KSPIN_LOCK BuntingDpcLock; // The DPC may run on two processors at once.
static PBUNTING_SETTINGS BuntingSettings;
_Guarded_by_(BuntingDpcLock) static ULONG BuntingLoad;

_Use_decl_annotations_
static VOID
BuntingDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    KeAcquireSpinLockAtDpcLevel(&BuntingDpcLock);
    BuntingLoad += BuntingSettings->Weight;
    if (BuntingLoad > BuntingSettings->Limit) {
        BuntingLoad = BuntingSettings->Limit;
    }
    KeReleaseSpinLockFromDpcLevel(&BuntingDpcLock);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BuntingAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBUNTING_BINDING Binding;
    LARGE_INTEGER DueTime;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PBUNTING_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BUNTING_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, BUNTING_POOL_TAG);
        return Status;
    }

    DueTime.QuadPart = BUNTING_INTERVAL;
    KeSetTimer(&BuntingTimer, DueTime, &BuntingDpc);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BuntingDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BuntingCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BUNTING_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BuntingUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BuntingClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BuntingClientHandle);
    }

    KeCancelTimer(&BuntingTimer);
    KeFlushQueuedDpcs();
    NT_ASSERT(BuntingLoad <= BuntingSettings->Limit);
    ExFreePoolWithTag(BuntingSettings, BUNTING_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BuntingUnload;
    KeInitializeTimer(&BuntingTimer);
    KeInitializeDpc(&BuntingDpc, BuntingDpcRoutine, NULL);
    KeInitializeSpinLock(&BuntingDpcLock);

    BuntingSettings =
        (PBUNTING_SETTINGS)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*BuntingSettings), BUNTING_POOL_TAG);
    if (BuntingSettings == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    BuntingSettings->Weight = 3;
    BuntingSettings->Limit = 10;

    // The timer is set by attach callbacks only, and a failed registration has none.
    Status = NmrRegisterClient(&BuntingCharacteristics, NULL, &BuntingClientHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(BuntingSettings, BUNTING_POOL_TAG);
    }

    return Status;
}
