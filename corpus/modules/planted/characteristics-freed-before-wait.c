// nmrfuzz: module
// summary: Client with characteristics in pool that frees them after the deregistration was begun but before it is complete.
// provides: 0
// consumes: 1
// expect: characteristics-changed, use-after-free
// rule: R103, R11
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BEACON_POOL_TAG 'caeB'

typedef struct _BEACON_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} BEACON_CLIENT_DISPATCH;

typedef struct _BEACON_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} BEACON_BINDING, *PBEACON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BeaconUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN BeaconAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BeaconDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BeaconCleanupBindingContext;

static const NPIID BeaconNpiId = { 0xb023e1c2, 0xaf5b, 0x5f26, { 0x96, 0x04, 0x25, 0x1d, 0xdf, 0x23, 0x40, 0x66 } };
static const NPI_MODULEID BeaconModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x58912dae, 0xa702, 0x5bc7, { 0x8a, 0xf8, 0x1a, 0xf2, 0x30, 0x4c, 0xe2, 0xd3 } } }
};

static NPI_CLIENT_CHARACTERISTICS *BeaconCharacteristics;
static HANDLE BeaconClientHandle;

static VOID NTAPI
BeaconNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PBEACON_BINDING Binding = (PBEACON_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const BEACON_CLIENT_DISPATCH BeaconDispatch = { BeaconNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
BeaconAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBEACON_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PBEACON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BEACON_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &BeaconDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, BEACON_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BeaconDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BeaconCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BEACON_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BeaconUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(BeaconClientHandle);

    // Defect: NMR uses them until the deregistration is complete.
    ExFreePoolWithTag(BeaconCharacteristics, BEACON_POOL_TAG);

    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BeaconClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NPI_REGISTRATION_INSTANCE *Instance;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BeaconUnload;

    BeaconCharacteristics = (NPI_CLIENT_CHARACTERISTICS *)ExAllocatePool2(
        POOL_FLAG_NON_PAGED, sizeof(*BeaconCharacteristics), BEACON_POOL_TAG);
    if (BeaconCharacteristics == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    BeaconCharacteristics->Length = sizeof(*BeaconCharacteristics);
    BeaconCharacteristics->ClientAttachProvider = BeaconAttachProvider;
    BeaconCharacteristics->ClientDetachProvider = BeaconDetachProvider;
    BeaconCharacteristics->ClientCleanupBindingContext = BeaconCleanupBindingContext;
    Instance = &BeaconCharacteristics->ClientRegistrationInstance;
    Instance->Size = sizeof(*Instance);
    Instance->NpiId = &BeaconNpiId;
    Instance->ModuleId = &BeaconModuleId;

    Status = NmrRegisterClient(BeaconCharacteristics, NULL, &BeaconClientHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(BeaconCharacteristics, BEACON_POOL_TAG);
    }

    return Status;
}
