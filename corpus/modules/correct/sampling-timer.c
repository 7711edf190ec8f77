// nmrfuzz: module
// summary: Client whose bindings are sampled by the DPC of one re-armed timer; Unload stops, cancels and flushes.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The DPC re-arms its own timer while there is something to sample. Cancelling alone cannot end that: the DPC may be
// queued already, or may be about to arm the timer again. So: forbid re-arming under the lock, cancel, flush.

#include <ntddk.h>
#include <netioddk.h>

#define SAMPLE_POOL_TAG 'lpmS'
#define SAMPLE_INTERVAL (-500 * 1000 * 10) // 500 ms in 100 ns units, relative
#define SAMPLES_PER_BINDING 3

typedef struct _SAMPLE_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG SamplesLeft;
    ULONGLONG LastSample;
} SAMPLE_BINDING, *PSAMPLE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SampleUnload;
static KDEFERRED_ROUTINE SampleDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN SampleAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SampleDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SampleCleanupBindingContext;

static const NPIID SampleNpiId = { 0xc9f57c7d, 0xd807, 0x5b39, { 0xb0, 0x1b, 0x85, 0x96, 0xe4, 0xd4, 0x6b, 0x9d } };
static const NPI_MODULEID SampleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6b35cf02, 0xb396, 0x5811, { 0xa5, 0xa4, 0xb5, 0x64, 0x6d, 0xe7, 0x5e, 0x49 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SampleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SampleAttachProvider,
    SampleDetachProvider,
    SampleCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SampleNpiId, &SampleModuleId, 0, NULL }
};

static HANDLE SampleClientHandle;
static KTIMER SampleTimer;
static KDPC SampleDpc;
static KSPIN_LOCK SampleLock;
_Guarded_by_(SampleLock) static LIST_ENTRY SampleBindings;
_Guarded_by_(SampleLock) static BOOLEAN SampleArmed;
_Guarded_by_(SampleLock) static BOOLEAN SampleStopping;

_Requires_lock_held_(SampleLock)
static VOID
SampleArm(VOID)
{
    LARGE_INTEGER DueTime;

    if (!SampleStopping && !SampleArmed) {
        SampleArmed = TRUE;
        DueTime.QuadPart = SAMPLE_INTERVAL;
        KeSetTimer(&SampleTimer, DueTime, &SampleDpc);
    }
}

_Use_decl_annotations_
static VOID
SampleDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    BOOLEAN More = FALSE;
    PLIST_ENTRY Entry;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // A binding is used under the lock only, and the detach callback takes it off the list under the same lock.
    KeAcquireSpinLockAtDpcLevel(&SampleLock);
    SampleArmed = FALSE;
    for (Entry = SampleBindings.Flink; Entry != &SampleBindings; Entry = Entry->Flink) {
        PSAMPLE_BINDING Binding = CONTAINING_RECORD(Entry, SAMPLE_BINDING, Link);

        if (Binding->SamplesLeft != 0) {
            Binding->LastSample = KeQueryInterruptTime();
            Binding->SamplesLeft--;
            More = More || Binding->SamplesLeft != 0;
        }
    }
    if (More) {
        SampleArm();
    }
    KeReleaseSpinLockFromDpcLevel(&SampleLock);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SampleAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSAMPLE_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSAMPLE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SAMPLE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesLeft = SAMPLES_PER_BINDING;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SAMPLE_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&SampleLock, &OldIrql);
    InsertTailList(&SampleBindings, &Binding->Link);
    SampleArm();
    KeReleaseSpinLock(&SampleLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SampleDetachProvider(PVOID ClientBindingContext)
{
    PSAMPLE_BINDING Binding = (PSAMPLE_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SampleLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&SampleLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SampleCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SAMPLE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
SampleUnload(PDRIVER_OBJECT DriverObject)
{
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(SampleClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SampleClientHandle);
    }

    KeAcquireSpinLock(&SampleLock, &OldIrql);
    SampleStopping = TRUE;
    KeReleaseSpinLock(&SampleLock, OldIrql);

    KeCancelTimer(&SampleTimer);
    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SampleUnload;

    KeInitializeTimer(&SampleTimer);
    KeInitializeDpc(&SampleDpc, SampleDpcRoutine, NULL);
    KeInitializeSpinLock(&SampleLock);
    InitializeListHead(&SampleBindings);

    // The timer is armed by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&SampleCharacteristics, NULL, &SampleClientHandle);
}
