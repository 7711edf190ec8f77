// nmrfuzz: module
// summary: Client that takes the attach back when it cannot allocate its statistics, though the provider has accepted.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R39
// needs: the allocation after a successful attach fails
// interleaving: no
// hardness: 59 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ALMANAC_POOL_TAG 'amlA'

typedef struct _ALMANAC_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ALMANAC_CLIENT_DISPATCH;

typedef struct _ALMANAC_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    PLONG64 Statistics;
    LONG Notifications;
} ALMANAC_BINDING, *PALMANAC_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AlmanacUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN AlmanacAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AlmanacDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AlmanacCleanupBindingContext;

static const NPIID AlmanacNpiId = { 0x3fcbd593, 0xa81a, 0x5617, { 0xa3, 0x0e, 0x9e, 0x41, 0x9b, 0x71, 0x46, 0xc9 } };
static const NPI_MODULEID AlmanacModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x74e1cfb0, 0xf057, 0x5235, { 0x9e, 0xfa, 0xe8, 0xce, 0x4e, 0x46, 0xe5, 0x45 } } }
};

static const NPI_CLIENT_CHARACTERISTICS AlmanacCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AlmanacAttachProvider,
    AlmanacDetachProvider,
    AlmanacCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AlmanacNpiId, &AlmanacModuleId, 0, NULL }
};

static HANDLE AlmanacClientHandle;

static VOID NTAPI
AlmanacNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PALMANAC_BINDING Binding = (PALMANAC_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ALMANAC_CLIENT_DISPATCH AlmanacDispatch = { AlmanacNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
AlmanacAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PALMANAC_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PALMANAC_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ALMANAC_POOL_TAG);
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
        &AlmanacDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ALMANAC_POOL_TAG);
        return Status;
    }

    Binding->Statistics = (PLONG64)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(LONG64) * 16, ALMANAC_POOL_TAG);
    if (Binding->Statistics == NULL) {
        // Defect: what can fail has to come before the provider is asked.
        ExFreePoolWithTag(Binding, ALMANAC_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AlmanacDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AlmanacCleanupBindingContext(PVOID ClientBindingContext)
{
    PALMANAC_BINDING Binding = (PALMANAC_BINDING)ClientBindingContext;

    ExFreePoolWithTag(Binding->Statistics, ALMANAC_POOL_TAG);
    ExFreePoolWithTag(Binding, ALMANAC_POOL_TAG);
}

_Use_decl_annotations_
static VOID
AlmanacUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(AlmanacClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AlmanacClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AlmanacUnload;
    return NmrRegisterClient(&AlmanacCharacteristics, NULL, &AlmanacClientHandle);
}
