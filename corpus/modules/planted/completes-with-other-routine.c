// nmrfuzz: module
// summary: Client that completes its detach with the routine that is for providers.
// provides: 0
// consumes: 1
// expect: bad-handle
// rule: R73
// needs: a provider is attached at unload
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ELDER_POOL_TAG 'edlE'

typedef struct _ELDER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ELDER_CLIENT_DISPATCH;

typedef struct _ELDER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} ELDER_BINDING, *PELDER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ElderUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN ElderAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ElderDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ElderCleanupBindingContext;

static const NPIID ElderNpiId = { 0xb493bce9, 0xab65, 0x5aef, { 0xa4, 0x47, 0x52, 0x2d, 0xd2, 0x45, 0x61, 0xd4 } };
static const NPI_MODULEID ElderModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd8da33da, 0xf050, 0x5ee0, { 0xa1, 0xb3, 0xb0, 0x4f, 0x6e, 0xa1, 0x0d, 0x97 } } }
};

static const NPI_CLIENT_CHARACTERISTICS ElderCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ElderAttachProvider,
    ElderDetachProvider,
    ElderCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ElderNpiId, &ElderModuleId, 0, NULL }
};

static HANDLE ElderClientHandle;

static VOID NTAPI
ElderNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PELDER_BINDING Binding = (PELDER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ELDER_CLIENT_DISPATCH ElderDispatch = { ElderNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
ElderAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PELDER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PELDER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ELDER_POOL_TAG);
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
        &ElderDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ELDER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ElderDetachProvider(PVOID ClientBindingContext)
{
    PELDER_BINDING Binding = (PELDER_BINDING)ClientBindingContext;

    // Defect: that is for the other side.
    NmrProviderDetachClientComplete(Binding->BindingHandle);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
ElderCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ELDER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ElderUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(ElderClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ElderClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ElderUnload;
    return NmrRegisterClient(&ElderCharacteristics, NULL, &ElderClientHandle);
}
