// nmrfuzz: module
// summary: Client that completes its detach with the routine for providers.
// provides: 0
// consumes: 1
// expect: bad-handle
// rule: R73
// needs: nothing but an attached provider
// interleaving: no
// hardness: 1 schedules; 2 run to completion

// The deregistration may be complete while the DPC that completed the last detach is still on its way out, so Unload
// flushes the DPCs after the wait.

#include <ntddk.h>
#include <netioddk.h>

#define DAWDLE_POOL_TAG 'dwaD'
#define DAWDLE_TIME (-20 * 1000 * 10) // 20 ms in 100 ns units, relative

typedef struct _DAWDLE_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER DetachTimer;
    KDPC DetachDpc;
} DAWDLE_BINDING, *PDAWDLE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DawdleUnload;
static KDEFERRED_ROUTINE DawdleDetachDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN DawdleAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DawdleDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN DawdleCleanupBindingContext;

static const NPIID DawdleNpiId = { 0x01662252, 0x4b3e, 0x50f2, { 0xbd, 0x7c, 0xce, 0x59, 0x89, 0x90, 0x51, 0x42 } };
static const NPI_MODULEID DawdleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xcbd7cddf, 0x41dd, 0x5be1, { 0x81, 0x3a, 0x70, 0x4a, 0x24, 0xc5, 0xcc, 0x3a } } }
};

static const NPI_CLIENT_CHARACTERISTICS DawdleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    DawdleAttachProvider,
    DawdleDetachProvider,
    DawdleCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DawdleNpiId, &DawdleModuleId, 0, NULL }
};

static HANDLE DawdleClientHandle;
static LONG DawdleDetaches;

_Use_decl_annotations_
static VOID
DawdleDetachDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PDAWDLE_BINDING Binding = (PDAWDLE_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // The timer has expired and the DPC is off its queue, so cleanup may free both from inside this call.
    // Defect: this is how a provider completes.
    NmrProviderDetachClientComplete(Binding->BindingHandle);
    InterlockedIncrement(&DawdleDetaches);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DawdleAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PDAWDLE_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PDAWDLE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), DAWDLE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KeInitializeTimer(&Binding->DetachTimer);
    KeInitializeDpc(&Binding->DetachDpc, DawdleDetachDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, DAWDLE_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DawdleDetachProvider(PVOID ClientBindingContext)
{
    PDAWDLE_BINDING Binding = (PDAWDLE_BINDING)ClientBindingContext;
    LARGE_INTEGER DueTime;

    DueTime.QuadPart = DAWDLE_TIME;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
DawdleCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, DAWDLE_POOL_TAG);
}

// Ends the registration and lets every DPC that it set off return.
static VOID
DawdleDeregister(VOID)
{
    if (NmrDeregisterClient(DawdleClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(DawdleClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
static VOID
DawdleUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    DawdleDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DawdleUnload;
    return NmrRegisterClient(&DawdleCharacteristics, NULL, &DawdleClientHandle);
}
