// nmrfuzz: module
// summary: Client whose Unload frees what the timer DPC reads after cancelling the timer, before it flushes the DPCs.
// provides: 0
// consumes: 1
// expect: use-after-free, data-race
// rule: none
// needs: the timer has expired, and its DPC runs while Unload frees
// interleaving: yes
// hardness: 18 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GREBE_POOL_TAG 'berG'
#define GREBE_INTERVAL (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _GREBE_SETTINGS {
    ULONG Weight;
    ULONG Limit;
} GREBE_SETTINGS, *PGREBE_SETTINGS;

typedef struct _GREBE_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
} GREBE_BINDING, *PGREBE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GrebeUnload;
static KDEFERRED_ROUTINE GrebeDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN GrebeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GrebeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GrebeCleanupBindingContext;

static const NPIID GrebeNpiId = { 0x64149e09, 0x1e9a, 0x566d, { 0x84, 0xa2, 0x05, 0x76, 0x1b, 0x7e, 0xba, 0x24 } };
static const NPI_MODULEID GrebeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfe126ad0, 0x2f54, 0x5e84, { 0x8f, 0x72, 0xf7, 0x76, 0x65, 0xfa, 0x8d, 0x09 } } }
};

static const NPI_CLIENT_CHARACTERISTICS GrebeCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GrebeAttachProvider,
    GrebeDetachProvider,
    GrebeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GrebeNpiId, &GrebeModuleId, 0, NULL }
};

static HANDLE GrebeClientHandle;
static KTIMER GrebeTimer;
static KDPC GrebeDpc;
static KSPIN_LOCK GrebeDpcLock; // The DPC may run on two processors at once.
static PGREBE_SETTINGS GrebeSettings;
_Guarded_by_(GrebeDpcLock) static ULONG GrebeLoad;
static LONG GrebeTraced;

// The number of the next line in the log.
static VOID
GrebeTrace(VOID)
{
    InterlockedIncrement(&GrebeTraced);
}

_Use_decl_annotations_
static VOID
GrebeDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    GrebeTrace();
    KeAcquireSpinLockAtDpcLevel(&GrebeDpcLock);
    GrebeLoad += GrebeSettings->Weight;
    if (GrebeLoad > GrebeSettings->Limit) {
        GrebeLoad = GrebeSettings->Limit;
    }
    KeReleaseSpinLockFromDpcLevel(&GrebeDpcLock);
    GrebeTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrebeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGREBE_BINDING Binding;
    LARGE_INTEGER DueTime;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PGREBE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GREBE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GREBE_POOL_TAG);
        return Status;
    }

    DueTime.QuadPart = GREBE_INTERVAL;
    KeSetTimer(&GrebeTimer, DueTime, &GrebeDpc);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GrebeDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GrebeCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, GREBE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GrebeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(GrebeClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GrebeClientHandle);
    }

    GrebeTrace();
    KeCancelTimer(&GrebeTimer);

    // Defect: the timer may have expired before, and its DPC is still to run.
    ExFreePoolWithTag(GrebeSettings, GREBE_POOL_TAG);
    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GrebeUnload;
    KeInitializeTimer(&GrebeTimer);
    KeInitializeDpc(&GrebeDpc, GrebeDpcRoutine, NULL);
    KeInitializeSpinLock(&GrebeDpcLock);

    GrebeSettings =
        (PGREBE_SETTINGS)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*GrebeSettings), GREBE_POOL_TAG);
    if (GrebeSettings == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    GrebeSettings->Weight = 3;
    GrebeSettings->Limit = 10;

    // The timer is set by attach callbacks only, and a failed registration has none.
    Status = NmrRegisterClient(&GrebeCharacteristics, NULL, &GrebeClientHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(GrebeSettings, GREBE_POOL_TAG);
    }

    return Status;
}
