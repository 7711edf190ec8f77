// nmrfuzz: module
// summary: Client whose detach arms a timer that also ticks; the DPC cannot tell a late tick from the end of a detach.
// provides: 0
// consumes: 1
// expect: use-after-free, bad-call, bad-handle
// rule: R88, R69
// needs: a tick is queued when the detach callback arms the timer again
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

// The deregistration may be complete while the DPC that completed the last detach is still on its way out, so Unload
// flushes the DPCs after the wait.

#include <ntddk.h>
#include <netioddk.h>

#define METRONOME_POOL_TAG 'rteM'
#define METRONOME_TICK (-10 * 1000 * 10) // 10 ms
#define METRONOME_TIME (-20 * 1000 * 10) // 20 ms in 100 ns units, relative

typedef struct _METRONOME_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER DetachTimer;
    KDPC DetachDpc;
    LONG Detaching;
} METRONOME_BINDING, *PMETRONOME_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MetronomeUnload;
static KDEFERRED_ROUTINE MetronomeDetachDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN MetronomeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MetronomeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MetronomeCleanupBindingContext;

static const NPIID MetronomeNpiId = { 0xa364f106, 0xf366, 0x57f8, { 0xb8, 0x07, 0x90, 0xda, 0x76, 0x9b, 0x5a, 0x9d } };
static const NPI_MODULEID MetronomeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x260263bb, 0xe84f, 0x573e, { 0x87, 0x45, 0x87, 0xd7, 0x43, 0xd1, 0xcb, 0xda } } }
};

static const NPI_CLIENT_CHARACTERISTICS MetronomeCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MetronomeAttachProvider,
    MetronomeDetachProvider,
    MetronomeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MetronomeNpiId, &MetronomeModuleId, 0, NULL }
};

static HANDLE MetronomeClientHandle;
static LONG MetronomeDetaches;

_Use_decl_annotations_
static VOID
MetronomeDetachDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PMETRONOME_BINDING Binding = (PMETRONOME_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    if (InterlockedCompareExchange(&Binding->Detaching, 0, 0) == 0) {
        return; // A tick.
    }

    // Defect: this may be a tick that was queued before the detach, whose own expiry is still to come.
    NmrClientDetachProviderComplete(Binding->BindingHandle);
    InterlockedIncrement(&MetronomeDetaches);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MetronomeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMETRONOME_BINDING Binding;
    LARGE_INTEGER DueTime;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PMETRONOME_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), METRONOME_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KeInitializeTimer(&Binding->DetachTimer);
    KeInitializeDpc(&Binding->DetachDpc, MetronomeDetachDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, METRONOME_POOL_TAG);
        return Status;
    }

    DueTime.QuadPart = METRONOME_TICK;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MetronomeDetachProvider(PVOID ClientBindingContext)
{
    PMETRONOME_BINDING Binding = (PMETRONOME_BINDING)ClientBindingContext;
    LARGE_INTEGER DueTime;

    InterlockedExchange(&Binding->Detaching, 1);
    DueTime.QuadPart = METRONOME_TIME;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
MetronomeCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, METRONOME_POOL_TAG);
}

// Ends the registration and lets every DPC that it set off return.
static VOID
MetronomeDeregister(VOID)
{
    if (NmrDeregisterClient(MetronomeClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MetronomeClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
static VOID
MetronomeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    MetronomeDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MetronomeUnload;
    return NmrRegisterClient(&MetronomeCharacteristics, NULL, &MetronomeClientHandle);
}
