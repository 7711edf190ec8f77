// nmrfuzz: module
// summary: Client whose Unload cancels its sampling timer but does not wait for a DPC that is queued or running already.
// provides: 0
// consumes: 1
// expect: unload-running
// rule: R108
// needs: the timer expires while Unload runs
// interleaving: yes
// hardness: 50 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GAUGE_POOL_TAG 'guaG'
#define GAUGE_INTERVAL (-500 * 1000 * 10) // 500 ms in 100 ns units, relative
#define SAMPLES_PER_BINDING 3

typedef struct _GAUGE_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG SamplesLeft;
    ULONGLONG LastSample;
} GAUGE_BINDING, *PGAUGE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GaugeUnload;
static KDEFERRED_ROUTINE GaugeDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN GaugeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GaugeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GaugeCleanupBindingContext;

static const NPIID GaugeNpiId = { 0x0fa5bc34, 0xe0a7, 0x510b, { 0xb2, 0x48, 0x9c, 0x73, 0xc8, 0xf7, 0xb9, 0xa2 } };
static const NPI_MODULEID GaugeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x08b21d1b, 0xdc3b, 0x53f3, { 0xac, 0xd0, 0x2a, 0x8d, 0x95, 0x73, 0xb2, 0x0a } } }
};

static const NPI_CLIENT_CHARACTERISTICS GaugeCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GaugeAttachProvider,
    GaugeDetachProvider,
    GaugeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GaugeNpiId, &GaugeModuleId, 0, NULL }
};

static HANDLE GaugeClientHandle;
static KTIMER GaugeTimer;
static KDPC GaugeDpc;
static KSPIN_LOCK GaugeLock;
_Guarded_by_(GaugeLock) static LIST_ENTRY GaugeBindings;
_Guarded_by_(GaugeLock) static BOOLEAN GaugeArmed;
_Guarded_by_(GaugeLock) static BOOLEAN GaugeStopping;

_Requires_lock_held_(GaugeLock)
static VOID
GaugeArm(VOID)
{
    LARGE_INTEGER DueTime;

    if (!GaugeStopping && !GaugeArmed) {
        GaugeArmed = TRUE;
        DueTime.QuadPart = GAUGE_INTERVAL;
        KeSetTimer(&GaugeTimer, DueTime, &GaugeDpc);
    }
}

_Use_decl_annotations_
static VOID
GaugeDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    BOOLEAN More = FALSE;
    PLIST_ENTRY Entry;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // A binding is used under the lock only, and the detach callback takes it off the list under the same lock.
    KeAcquireSpinLockAtDpcLevel(&GaugeLock);
    GaugeArmed = FALSE;
    for (Entry = GaugeBindings.Flink; Entry != &GaugeBindings; Entry = Entry->Flink) {
        PGAUGE_BINDING Binding = CONTAINING_RECORD(Entry, GAUGE_BINDING, Link);

        if (Binding->SamplesLeft != 0) {
            Binding->LastSample = KeQueryInterruptTime();
            Binding->SamplesLeft--;
            More = More || Binding->SamplesLeft != 0;
        }
    }
    if (More) {
        GaugeArm();
    }
    KeReleaseSpinLockFromDpcLevel(&GaugeLock);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GaugeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGAUGE_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PGAUGE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GAUGE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesLeft = SAMPLES_PER_BINDING;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GAUGE_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    InsertTailList(&GaugeBindings, &Binding->Link);
    GaugeArm();
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GaugeDetachProvider(PVOID ClientBindingContext)
{
    PGAUGE_BINDING Binding = (PGAUGE_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GaugeCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, GAUGE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GaugeUnload(PDRIVER_OBJECT DriverObject)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(GaugeClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GaugeClientHandle);
    }

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    GaugeStopping = TRUE;
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    // Defect: cancelling does not wait for a DPC that the timer has queued already.
    KeCancelTimer(&GaugeTimer);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GaugeUnload;

    KeInitializeTimer(&GaugeTimer);
    KeInitializeDpc(&GaugeDpc, GaugeDpcRoutine, NULL);
    KeInitializeSpinLock(&GaugeLock);
    InitializeListHead(&GaugeBindings);

    // The timer is armed by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&GaugeCharacteristics, NULL, &GaugeClientHandle);
}
