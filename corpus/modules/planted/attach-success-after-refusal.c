// nmrfuzz: module
// summary: Client that reports success for a binding that the provider refused.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R36, R37
// needs: provider declines, or the attach fails
// interleaving: no
// hardness: 9 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define COURIER_POOL_TAG 'ruoC'

typedef struct _COURIER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} COURIER_CLIENT_DISPATCH;

typedef struct _COURIER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} COURIER_BINDING, *PCOURIER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CourierUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN CourierAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CourierDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CourierCleanupBindingContext;

static const NPIID CourierNpiId = { 0xd8e68e7a, 0xb4ec, 0x5032, { 0x9b, 0x57, 0x84, 0x96, 0xbc, 0x5f, 0xfb, 0xe1 } };
static const NPI_MODULEID CourierModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x09675409, 0x2de6, 0x5733, { 0xba, 0x30, 0x65, 0x8b, 0x24, 0xca, 0x3b, 0x07 } } }
};

static const NPI_CLIENT_CHARACTERISTICS CourierCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CourierAttachProvider,
    CourierDetachProvider,
    CourierCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CourierNpiId, &CourierModuleId, 0, NULL }
};

static HANDLE CourierClientHandle;

static VOID NTAPI
CourierNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PCOURIER_BINDING Binding = (PCOURIER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const COURIER_CLIENT_DISPATCH CourierDispatch = { CourierNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
CourierAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCOURIER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PCOURIER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), COURIER_POOL_TAG);
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
        &CourierDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, COURIER_POOL_TAG);
    }

    // Defect: not the status of NmrClientAttachProvider. "A missing provider is no error for us."
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CourierDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CourierCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, COURIER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
CourierUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(CourierClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CourierClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CourierUnload;
    return NmrRegisterClient(&CourierCharacteristics, NULL, &CourierClientHandle);
}
