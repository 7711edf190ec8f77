// nmrfuzz: module
// summary: Client that returns STATUS_PENDING to a provider that it cannot take now.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R38
// needs: an allocation fails
// interleaving: no
// hardness: 57 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CLOVER_POOL_TAG 'volC'

typedef struct _CLOVER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} CLOVER_CLIENT_DISPATCH;

typedef struct _CLOVER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} CLOVER_BINDING, *PCLOVER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CloverUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN CloverAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CloverDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CloverCleanupBindingContext;

static const NPIID CloverNpiId = { 0x51f9b9fa, 0xb792, 0x5a6e, { 0x89, 0x20, 0xc5, 0x91, 0x4e, 0x46, 0x8c, 0x91 } };
static const NPI_MODULEID CloverModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x085dd981, 0x44cc, 0x59d1, { 0x9b, 0x4c, 0x7d, 0xb8, 0xad, 0x24, 0x43, 0x5f } } }
};

static const NPI_CLIENT_CHARACTERISTICS CloverCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CloverAttachProvider,
    CloverDetachProvider,
    CloverCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CloverNpiId, &CloverModuleId, 0, NULL }
};

static HANDLE CloverClientHandle;

static VOID NTAPI
CloverNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PCLOVER_BINDING Binding = (PCLOVER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const CLOVER_CLIENT_DISPATCH CloverDispatch = { CloverNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
CloverAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCLOVER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PCLOVER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), CLOVER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_PENDING; // Defect: nothing can follow; the offer is over.
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &CloverDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, CLOVER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CloverDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CloverCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, CLOVER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
CloverUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(CloverClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CloverClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CloverUnload;
    return NmrRegisterClient(&CloverCharacteristics, NULL, &CloverClientHandle);
}
