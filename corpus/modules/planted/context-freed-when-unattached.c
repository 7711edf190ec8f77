// nmrfuzz: module
// summary: Client whose Unload frees the registration context before the wait if no provider is attached just then.
// provides: 0
// consumes: 1
// expect: use-after-free, data-race
// rule: R14, R103
// needs: an attach is in progress when the driver unloads
// interleaving: yes
// hardness: 66 schedules; 24 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define MOORING_POOL_TAG 'rooM'

typedef struct _MOORING_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} MOORING_CLIENT_DISPATCH;

// The registration context.
typedef struct _MOORING_STATISTICS {
    LONG Offers;
    LONG Attached;
} MOORING_STATISTICS, *PMOORING_STATISTICS;

typedef struct _MOORING_BINDING {
    PMOORING_STATISTICS Statistics;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} MOORING_BINDING, *PMOORING_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MooringUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN MooringAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MooringDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MooringCleanupBindingContext;

static const NPIID MooringNpiId = { 0x69ef00f7, 0xa5da, 0x543b, { 0x92, 0x40, 0xc4, 0xff, 0x88, 0x68, 0xc3, 0xfc } };
static const NPI_MODULEID MooringModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0ec3d871, 0x60aa, 0x5140, { 0xa2, 0x32, 0x1c, 0xab, 0x10, 0xb7, 0x19, 0x57 } } }
};

static const NPI_CLIENT_CHARACTERISTICS MooringCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MooringAttachProvider,
    MooringDetachProvider,
    MooringCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MooringNpiId, &MooringModuleId, 0, NULL }
};

static HANDLE MooringClientHandle;
static PMOORING_STATISTICS MooringStatistics;

static VOID NTAPI
MooringNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PMOORING_BINDING Binding = (PMOORING_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const MOORING_CLIENT_DISPATCH MooringDispatch = { MooringNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
MooringAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMOORING_STATISTICS Statistics = (PMOORING_STATISTICS)ClientContext;
    PMOORING_BINDING Binding;
    NTSTATUS Status;

    InterlockedIncrement(&Statistics->Offers);

    Binding = (PMOORING_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), MOORING_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->Statistics = Statistics;
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &MooringDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, MOORING_POOL_TAG);
        return Status;
    }

    InterlockedIncrement(&Statistics->Attached);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MooringDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MooringCleanupBindingContext(PVOID ClientBindingContext)
{
    PMOORING_BINDING Binding = (PMOORING_BINDING)ClientBindingContext;

    InterlockedDecrement(&Binding->Statistics->Attached);
    ExFreePoolWithTag(Binding, MOORING_POOL_TAG);
}

_Use_decl_annotations_
static VOID
MooringUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;
    BOOLEAN Attached;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(MooringClientHandle);

    // Defect: that nobody is attached yet does not mean that no attach callback is running.
    Attached = InterlockedCompareExchange(&MooringStatistics->Attached, 0, 0) != 0;
    if (!Attached) {
        ExFreePoolWithTag(MooringStatistics, MOORING_POOL_TAG);
    }
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MooringClientHandle);
    }
    if (Attached) {
        ExFreePoolWithTag(MooringStatistics, MOORING_POOL_TAG);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MooringUnload;

    MooringStatistics = (PMOORING_STATISTICS)ExAllocatePool2(
        POOL_FLAG_NON_PAGED, sizeof(*MooringStatistics), MOORING_POOL_TAG);
    if (MooringStatistics == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterClient(&MooringCharacteristics, MooringStatistics, &MooringClientHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(MooringStatistics, MOORING_POOL_TAG);
    }

    return Status;
}
