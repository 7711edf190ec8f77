// nmrfuzz: module
// summary: Client that cancels the timer of a binding in its detach callback, though the DPC may be queued already.
// provides: 0
// consumes: 1
// expect: use-after-free, data-race
// rule: R88
// needs: the timer of a binding expires just before its detach
// interleaving: yes
// hardness: 74 schedules; 634 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PULSE_POOL_TAG 'sluP'
#define PULSE_INTERVAL (-200 * 1000 * 10) // 200 ms in 100 ns units, relative

typedef struct _PULSE_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER Timer;
    KDPC Dpc;
    LONG Pulses;
} PULSE_BINDING, *PPULSE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PulseUnload;
static KDEFERRED_ROUTINE PulseDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN PulseAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PulseDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PulseCleanupBindingContext;

static const NPIID PulseNpiId = { 0xb4a16278, 0xbfa7, 0x5900, { 0xbc, 0x83, 0xd7, 0xe9, 0xfd, 0x8e, 0x14, 0x93 } };
static const NPI_MODULEID PulseModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xba992139, 0xe52e, 0x56f9, { 0x8f, 0x73, 0xa0, 0x91, 0xd5, 0x20, 0xdc, 0x8a } } }
};

static const NPI_CLIENT_CHARACTERISTICS PulseCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PulseAttachProvider,
    PulseDetachProvider,
    PulseCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PulseNpiId, &PulseModuleId, 0, NULL }
};

static HANDLE PulseClientHandle;

_Use_decl_annotations_
static VOID
PulseDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PPULSE_BINDING Binding = (PPULSE_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    InterlockedIncrement(&Binding->Pulses);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PulseAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPULSE_BINDING Binding;
    LARGE_INTEGER DueTime;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPULSE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PULSE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KeInitializeTimer(&Binding->Timer);
    KeInitializeDpc(&Binding->Dpc, PulseDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PULSE_POOL_TAG);
        return Status;
    }

    // One sample, a moment after the attachment.
    DueTime.QuadPart = PULSE_INTERVAL;
    KeSetTimer(&Binding->Timer, DueTime, &Binding->Dpc);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PulseDetachProvider(PVOID ClientBindingContext)
{
    PPULSE_BINDING Binding = (PPULSE_BINDING)ClientBindingContext;

    // Defect: if this returns FALSE, the DPC may be queued or running, and cleanup frees the binding under it. Flushing
    // is not allowed here; the detach would have to pend until the DPC has run.
    KeCancelTimer(&Binding->Timer);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PulseCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PULSE_POOL_TAG);
}

// Ends the registration and lets every DPC that it set off return.
static VOID
PulseDeregister(VOID)
{
    if (NmrDeregisterClient(PulseClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PulseClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
static VOID
PulseUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    PulseDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PulseUnload;
    return NmrRegisterClient(&PulseCharacteristics, NULL, &PulseClientHandle);
}
