// nmrfuzz: module
// summary: Client with a dispatch table for each provider that frees the table in its detach callback.
// provides: 0
// consumes: 1
// expect: characteristics-changed
// rule: R41
// needs: a provider is attached at unload
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define QUIVER_POOL_TAG 'viuQ'

typedef struct _QUIVER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} QUIVER_CLIENT_DISPATCH;

typedef struct _QUIVER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
    QUIVER_CLIENT_DISPATCH *Table;
} QUIVER_BINDING, *PQUIVER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD QuiverUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN QuiverAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN QuiverDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN QuiverCleanupBindingContext;

static const NPIID QuiverNpiId = { 0xc1b09ede, 0x674f, 0x5954, { 0x98, 0xb9, 0x60, 0xd2, 0x07, 0x7c, 0x2a, 0x0d } };
static const NPI_MODULEID QuiverModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfa38cf37, 0x7444, 0x5fac, { 0xa9, 0x0a, 0xad, 0xb8, 0x7a, 0x7a, 0x52, 0x45 } } }
};

static const NPI_CLIENT_CHARACTERISTICS QuiverCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    QuiverAttachProvider,
    QuiverDetachProvider,
    QuiverCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &QuiverNpiId, &QuiverModuleId, 0, NULL }
};

static HANDLE QuiverClientHandle;

static VOID NTAPI
QuiverNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PQUIVER_BINDING Binding = (PQUIVER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
QuiverAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PQUIVER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PQUIVER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), QUIVER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->Table = (QUIVER_CLIENT_DISPATCH *)ExAllocatePool2(
        POOL_FLAG_NON_PAGED,
        sizeof(*Binding->Table),
        QUIVER_POOL_TAG);
    if (Binding->Table == NULL) {
        ExFreePoolWithTag(Binding, QUIVER_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Binding->Table->Notify = QuiverNotify;

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        Binding->Table,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding->Table, QUIVER_POOL_TAG);
        ExFreePoolWithTag(Binding, QUIVER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
QuiverDetachProvider(PVOID ClientBindingContext)
{
    PQUIVER_BINDING Binding = (PQUIVER_BINDING)ClientBindingContext;

    // Defect: the provider calls through the table until it has detached as well.
    ExFreePoolWithTag(Binding->Table, QUIVER_POOL_TAG);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
QuiverCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, QUIVER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
QuiverUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(QuiverClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(QuiverClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = QuiverUnload;
    return NmrRegisterClient(&QuiverCharacteristics, NULL, &QuiverClientHandle);
}
