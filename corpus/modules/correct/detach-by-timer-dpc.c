// nmrfuzz: module
// summary: Client whose detach lingers for a moment and is completed from the DPC of a timer in the binding context.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The deregistration may be complete while the DPC that completed the last detach is still on its way out, so Unload
// flushes the DPCs after the wait.

#include <ntddk.h>
#include <netioddk.h>

#define LINGER_POOL_TAG 'gniL'
#define LINGER_TIME (-20 * 1000 * 10) // 20 ms in 100 ns units, relative

typedef struct _LINGER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER DetachTimer;
    KDPC DetachDpc;
} LINGER_BINDING, *PLINGER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LingerUnload;
static KDEFERRED_ROUTINE LingerDetachDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN LingerAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LingerDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LingerCleanupBindingContext;

static const NPIID LingerNpiId = { 0x493a0801, 0xc0d1, 0x5efd, { 0x93, 0x1a, 0xb8, 0x95, 0x5c, 0x88, 0x9d, 0xa5 } };
static const NPI_MODULEID LingerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x154954a7, 0x586e, 0x5d9e, { 0x89, 0xa8, 0x14, 0xa5, 0x48, 0xf3, 0x1a, 0x0b } } }
};

static const NPI_CLIENT_CHARACTERISTICS LingerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LingerAttachProvider,
    LingerDetachProvider,
    LingerCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LingerNpiId, &LingerModuleId, 0, NULL }
};

static HANDLE LingerClientHandle;
static LONG LingerDetaches;

_Use_decl_annotations_
static VOID
LingerDetachDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PLINGER_BINDING Binding = (PLINGER_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // The timer has expired and the DPC is off its queue, so cleanup may free both from inside this call.
    NmrClientDetachProviderComplete(Binding->BindingHandle);
    InterlockedIncrement(&LingerDetaches);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LingerAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLINGER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PLINGER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LINGER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KeInitializeTimer(&Binding->DetachTimer);
    KeInitializeDpc(&Binding->DetachDpc, LingerDetachDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, LINGER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LingerDetachProvider(PVOID ClientBindingContext)
{
    PLINGER_BINDING Binding = (PLINGER_BINDING)ClientBindingContext;
    LARGE_INTEGER DueTime;

    DueTime.QuadPart = LINGER_TIME;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
LingerCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, LINGER_POOL_TAG);
}

// Ends the registration and lets every DPC that it set off return.
static VOID
LingerDeregister(VOID)
{
    if (NmrDeregisterClient(LingerClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LingerClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
static VOID
LingerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    LingerDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LingerUnload;
    return NmrRegisterClient(&LingerCharacteristics, NULL, &LingerClientHandle);
}
