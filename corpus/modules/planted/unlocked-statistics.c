// nmrfuzz: module
// summary: Client that counts its attached providers with a plain increment in callbacks that may run at the same time.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: two providers attach or detach at the same time
// interleaving: yes

#include <ntddk.h>
#include <netioddk.h>

#define ABACUS_POOL_TAG 'cabA'

typedef struct _ABACUS_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ABACUS_CLIENT_DISPATCH;

typedef struct _ABACUS_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} ABACUS_BINDING, *PABACUS_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AbacusUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN AbacusAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AbacusDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AbacusCleanupBindingContext;

static const NPIID AbacusNpiId = { 0xd1b80c9e, 0xc1d7, 0x5fab, { 0x90, 0x5a, 0x17, 0x0b, 0xc6, 0x68, 0xe5, 0x7f } };
static const NPI_MODULEID AbacusModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6482ecf1, 0xad14, 0x5468, { 0x98, 0x92, 0x57, 0xef, 0xf3, 0x80, 0x18, 0xc0 } } }
};

static const NPI_CLIENT_CHARACTERISTICS AbacusCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AbacusAttachProvider,
    AbacusDetachProvider,
    AbacusCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AbacusNpiId, &AbacusModuleId, 0, NULL }
};

static HANDLE AbacusClientHandle;
static ULONG AbacusAttached;

static VOID NTAPI
AbacusNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PABACUS_BINDING Binding = (PABACUS_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ABACUS_CLIENT_DISPATCH AbacusDispatch = { AbacusNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
AbacusAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PABACUS_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PABACUS_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ABACUS_POOL_TAG);
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
        &AbacusDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ABACUS_POOL_TAG);
        return Status;
    }

    // Defect: callbacks for different bindings may run at the same time, and this is no atomic step.
    AbacusAttached++;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AbacusDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AbacusCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ABACUS_POOL_TAG);
}

_Use_decl_annotations_
static VOID
AbacusUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(AbacusClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AbacusClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AbacusUnload;
    return NmrRegisterClient(&AbacusCharacteristics, NULL, &AbacusClientHandle);
}
