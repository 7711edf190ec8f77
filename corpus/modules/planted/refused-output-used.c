// nmrfuzz: module
// summary: Client that asks the dispatch of a provider for its version even if the provider has refused the attach.
// provides: 0
// consumes: 1
// expect: null-dereference
// rule: R43
// needs: provider declines, or the attach fails
// interleaving: no
// hardness: 9 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define HERON_POOL_TAG 'oreH'

typedef struct _HERON_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} HERON_CLIENT_DISPATCH;

typedef struct _HERON_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} HERON_PROVIDER_DISPATCH;

typedef struct _HERON_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    const HERON_PROVIDER_DISPATCH *ProviderDispatch;
    BOOLEAN Versioned;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} HERON_BINDING, *PHERON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HeronUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN HeronAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN HeronDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN HeronCleanupBindingContext;

static const NPIID HeronNpiId = { 0x234d4cea, 0xba24, 0x5b06, { 0x88, 0x60, 0x86, 0x9e, 0x22, 0x8d, 0x12, 0xca } };
static const NPI_MODULEID HeronModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x36533070, 0xea9e, 0x5bdc, { 0x82, 0x74, 0xb0, 0x36, 0x9f, 0x50, 0x7f, 0x58 } } }
};

static const NPI_CLIENT_CHARACTERISTICS HeronCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    HeronAttachProvider,
    HeronDetachProvider,
    HeronCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HeronNpiId, &HeronModuleId, 0, NULL }
};

static HANDLE HeronClientHandle;

static VOID NTAPI
HeronNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PHERON_BINDING Binding = (PHERON_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const HERON_CLIENT_DISPATCH HeronDispatch = { HeronNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
HeronAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PHERON_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PHERON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), HERON_POOL_TAG);
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
        &HeronDispatch,
        &Binding->ProviderBindingContext,
        (CONST VOID **)&Binding->ProviderDispatch);

    // Defect: after a failure there is no dispatch.
    Binding->Versioned = Binding->ProviderDispatch->Version != NULL;

    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, HERON_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeronDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HeronCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, HERON_POOL_TAG);
}

_Use_decl_annotations_
static VOID
HeronUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(HeronClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(HeronClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HeronUnload;
    return NmrRegisterClient(&HeronCharacteristics, NULL, &HeronClientHandle);
}
