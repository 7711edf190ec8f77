// nmrfuzz: module
// summary: Client that never calls its provider and asks for no dispatch table.
// provides: 0
// consumes: 1
// expect: bad-call
// rule: R35
// needs: a provider comes
// interleaving: no

#include <ntddk.h>
#include <netioddk.h>

#define WICKET_POOL_TAG 'kciW'

typedef struct _WICKET_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} WICKET_CLIENT_DISPATCH;

typedef struct _WICKET_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} WICKET_BINDING, *PWICKET_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WicketUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN WicketAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN WicketDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN WicketCleanupBindingContext;

static const NPIID WicketNpiId = { 0x2ad82562, 0xfbcb, 0x5f5f, { 0xb9, 0x3c, 0x09, 0x49, 0xc4, 0xb0, 0xe4, 0xde } };
static const NPI_MODULEID WicketModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x386bc839, 0xdad0, 0x50d5, { 0x88, 0x5f, 0xd3, 0x54, 0x5c, 0x88, 0x59, 0xf2 } } }
};

static const NPI_CLIENT_CHARACTERISTICS WicketCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    WicketAttachProvider,
    WicketDetachProvider,
    WicketCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WicketNpiId, &WicketModuleId, 0, NULL }
};

static HANDLE WicketClientHandle;

static VOID NTAPI
WicketNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PWICKET_BINDING Binding = (PWICKET_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const WICKET_CLIENT_DISPATCH WicketDispatch = { WicketNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
WicketAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PWICKET_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PWICKET_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), WICKET_POOL_TAG);
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
        &WicketDispatch,
        &Binding->ProviderBindingContext,
        NULL); // Defect: the output is not optional.
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, WICKET_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WicketDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WicketCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, WICKET_POOL_TAG);
}

_Use_decl_annotations_
static VOID
WicketUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(WicketClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(WicketClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WicketUnload;
    return NmrRegisterClient(&WicketCharacteristics, NULL, &WicketClientHandle);
}
