// nmrfuzz: module
// summary: Client whose Unload waits for the last DPC by looking at a plain flag again and again.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: Unload looks at the flag before or while the DPC sets it
// interleaving: yes
// hardness: 94 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define RUFF_POOL_TAG 'ffuR'
#define RUFF_INTERVAL (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _RUFF_SETTINGS {
    ULONG Weight;
    ULONG Limit;
} RUFF_SETTINGS, *PRUFF_SETTINGS;

typedef struct _RUFF_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
} RUFF_BINDING, *PRUFF_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RuffUnload;
static KDEFERRED_ROUTINE RuffDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN RuffAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RuffDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RuffCleanupBindingContext;

static const NPIID RuffNpiId = { 0xa300e496, 0xfa5e, 0x5425, { 0xb8, 0x30, 0x74, 0xc5, 0x47, 0x52, 0xe9, 0x20 } };
static const NPI_MODULEID RuffModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf970655a, 0xdadc, 0x5ae1, { 0x92, 0x73, 0xbf, 0xd5, 0xd0, 0x4f, 0x2f, 0x5b } } }
};

static const NPI_CLIENT_CHARACTERISTICS RuffCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RuffAttachProvider,
    RuffDetachProvider,
    RuffCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RuffNpiId, &RuffModuleId, 0, NULL }
};

static HANDLE RuffClientHandle;
static KTIMER RuffTimer;
static KDPC RuffDpc;
static KSPIN_LOCK RuffDpcLock; // The DPC may run on two processors at once.
static PRUFF_SETTINGS RuffSettings;
_Guarded_by_(RuffDpcLock) static ULONG RuffLoad;
static LONG RuffPending; // 1: the timer is set, or its DPC is queued
static BOOLEAN RuffIdle;
static LONG RuffTraced;

// The number of the next line in the log.
static VOID
RuffTrace(VOID)
{
    InterlockedIncrement(&RuffTraced);
}

_Use_decl_annotations_
static VOID
RuffDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    RuffTrace();
    KeAcquireSpinLockAtDpcLevel(&RuffDpcLock);
    RuffLoad += RuffSettings->Weight;
    if (RuffLoad > RuffSettings->Limit) {
        RuffLoad = RuffSettings->Limit;
    }
    KeReleaseSpinLockFromDpcLevel(&RuffDpcLock);
    RuffIdle = TRUE;
    RuffTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RuffAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PRUFF_BINDING Binding;
    LARGE_INTEGER DueTime;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PRUFF_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), RUFF_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, RUFF_POOL_TAG);
        return Status;
    }

    DueTime.QuadPart = RUFF_INTERVAL;
    // Only the first provider starts it.
    if (InterlockedCompareExchange(&RuffPending, 1, 0) == 0) {
        KeSetTimer(&RuffTimer, DueTime, &RuffDpc);
    }
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RuffDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RuffCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, RUFF_POOL_TAG);
}

// Waits until the DPC, if the timer was ever set, has run.
static VOID
RuffWaitUntilIdle(VOID)
{
    LARGE_INTEGER Interval;

    Interval.QuadPart = RUFF_INTERVAL;
    if (InterlockedCompareExchange(&RuffPending, 0, 0) != 0) {
        // Defect: nothing orders these looks and what the DPC does.
        do {
            KeDelayExecutionThread(KernelMode, FALSE, &Interval);
            RuffTrace();
        } while (!RuffIdle);
    }
}

_Use_decl_annotations_
static VOID
RuffUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(RuffClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RuffClientHandle);
    }

    RuffWaitUntilIdle();
    KeFlushQueuedDpcs(); // It may be on its way out.
    ExFreePoolWithTag(RuffSettings, RUFF_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RuffUnload;
    KeInitializeTimer(&RuffTimer);
    KeInitializeDpc(&RuffDpc, RuffDpcRoutine, NULL);
    KeInitializeSpinLock(&RuffDpcLock);

    RuffSettings =
        (PRUFF_SETTINGS)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*RuffSettings), RUFF_POOL_TAG);
    if (RuffSettings == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RuffSettings->Weight = 3;
    RuffSettings->Limit = 10;

    // The timer is set by attach callbacks only, and a failed registration has none.
    Status = NmrRegisterClient(&RuffCharacteristics, NULL, &RuffClientHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(RuffSettings, RUFF_POOL_TAG);
    }

    return Status;
}
