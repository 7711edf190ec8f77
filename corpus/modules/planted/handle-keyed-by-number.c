// nmrfuzz: module
// summary: Client that keeps its binding handles by the number of the provider, which several providers may share.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle, use-after-free, deadlock
// rule: R44, R72
// needs: two providers with the same number at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

// The deregistration may be complete while the DPC that completed the last detach is still on its way out, so Unload
// flushes the DPCs after the wait.

#include <ntddk.h>
#include <netioddk.h>

#define PIGEON_POOL_TAG 'egiP'
#define PIGEON_NUMBERS 8
#define PIGEON_TIME (-20 * 1000 * 10) // 20 ms in 100 ns units, relative

typedef struct _PIGEON_BINDING {
    ULONG Number;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER DetachTimer;
    KDPC DetachDpc;
} PIGEON_BINDING, *PPIGEON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PigeonUnload;
static KDEFERRED_ROUTINE PigeonDetachDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN PigeonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PigeonDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PigeonCleanupBindingContext;

static const NPIID PigeonNpiId = { 0x492aa177, 0x72ef, 0x5eb3, { 0xb9, 0xd1, 0xb4, 0x0d, 0x61, 0x04, 0x89, 0x81 } };
static const NPI_MODULEID PigeonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0050d518, 0x0f96, 0x5bf5, { 0xb3, 0xd1, 0xeb, 0xb1, 0x44, 0x17, 0x9e, 0x28 } } }
};

static const NPI_CLIENT_CHARACTERISTICS PigeonCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PigeonAttachProvider,
    PigeonDetachProvider,
    PigeonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PigeonNpiId, &PigeonModuleId, 0, NULL }
};

static HANDLE PigeonClientHandle;
static HANDLE PigeonHandles[PIGEON_NUMBERS];
static LONG PigeonDetaches;

_Use_decl_annotations_
static VOID
PigeonDetachDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PPIGEON_BINDING Binding = (PPIGEON_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // The timer has expired and the DPC is off its queue, so cleanup may free both from inside this call.
    NmrClientDetachProviderComplete(InterlockedCompareExchangePointer(&PigeonHandles[Binding->Number], NULL, NULL));
    InterlockedIncrement(&PigeonDetaches);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PigeonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPIGEON_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    if (ProviderRegistrationInstance->Number >= PIGEON_NUMBERS) {
        return STATUS_NOINTERFACE;
    }

    Binding = (PPIGEON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PIGEON_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->Number = ProviderRegistrationInstance->Number;
    KeInitializeTimer(&Binding->DetachTimer);
    KeInitializeDpc(&Binding->DetachDpc, PigeonDetachDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PIGEON_POOL_TAG);
        return Status;
    }

    // Defect: numbers tell the registrations of one module apart, not those of all modules. Every binding needs a
    // place of its own.
    InterlockedExchangePointer(&PigeonHandles[Binding->Number], NmrBindingHandle);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PigeonDetachProvider(PVOID ClientBindingContext)
{
    PPIGEON_BINDING Binding = (PPIGEON_BINDING)ClientBindingContext;
    LARGE_INTEGER DueTime;

    DueTime.QuadPart = PIGEON_TIME;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
PigeonCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PIGEON_POOL_TAG);
}

// Ends the registration and lets every DPC that it set off return.
static VOID
PigeonDeregister(VOID)
{
    if (NmrDeregisterClient(PigeonClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PigeonClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
static VOID
PigeonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    PigeonDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PigeonUnload;
    return NmrRegisterClient(&PigeonCharacteristics, NULL, &PigeonClientHandle);
}
