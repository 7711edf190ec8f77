// nmrfuzz: module
// summary: Client whose Unload does not let the DPC that completed its last detach return.
// provides: 0
// consumes: 1
// expect: unload-running
// rule: R108
// needs: unload goes on between the completion and the return of the DPC
// interleaving: yes
// hardness: 2 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TARRY_POOL_TAG 'rraT'
#define TARRY_TIME (-20 * 1000 * 10) // 20 ms in 100 ns units, relative

typedef struct _TARRY_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    KTIMER DetachTimer;
    KDPC DetachDpc;
} TARRY_BINDING, *PTARRY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TarryUnload;
static KDEFERRED_ROUTINE TarryDetachDpc;
static NPI_CLIENT_ATTACH_PROVIDER_FN TarryAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TarryDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TarryCleanupBindingContext;

static const NPIID TarryNpiId = { 0x93f8e185, 0xaae3, 0x5b8e, { 0xac, 0xb9, 0xe3, 0x2c, 0xfe, 0xc8, 0x27, 0xf3 } };
static const NPI_MODULEID TarryModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8605a404, 0xf87f, 0x575d, { 0x90, 0x8f, 0x2f, 0x11, 0x38, 0x37, 0x3f, 0xac } } }
};

static const NPI_CLIENT_CHARACTERISTICS TarryCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TarryAttachProvider,
    TarryDetachProvider,
    TarryCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TarryNpiId, &TarryModuleId, 0, NULL }
};

static HANDLE TarryClientHandle;
static LONG TarryDetaches;

_Use_decl_annotations_
static VOID
TarryDetachDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    PTARRY_BINDING Binding = (PTARRY_BINDING)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    // The timer has expired and the DPC is off its queue, so cleanup may free both from inside this call.
    NmrClientDetachProviderComplete(Binding->BindingHandle);
    InterlockedIncrement(&TarryDetaches);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TarryAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTARRY_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PTARRY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TARRY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KeInitializeTimer(&Binding->DetachTimer);
    KeInitializeDpc(&Binding->DetachDpc, TarryDetachDpc, Binding);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, TARRY_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TarryDetachProvider(PVOID ClientBindingContext)
{
    PTARRY_BINDING Binding = (PTARRY_BINDING)ClientBindingContext;
    LARGE_INTEGER DueTime;

    DueTime.QuadPart = TARRY_TIME;
    KeSetTimer(&Binding->DetachTimer, DueTime, &Binding->DetachDpc);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
TarryCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, TARRY_POOL_TAG);
}

static VOID
TarryDeregister(VOID)
{
    if (NmrDeregisterClient(TarryClientHandle) == STATUS_PENDING) {
        // Defect: the wait may end inside the completion, with the DPC still to return from it. It takes
        // KeFlushQueuedDpcs to wait for that.
        NmrWaitForClientDeregisterComplete(TarryClientHandle);
    }
}

_Use_decl_annotations_
static VOID
TarryUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    TarryDeregister();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TarryUnload;
    return NmrRegisterClient(&TarryCharacteristics, NULL, &TarryClientHandle);
}
