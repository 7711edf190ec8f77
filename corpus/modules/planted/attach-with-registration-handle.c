// nmrfuzz: module
// summary: Client that attaches with its registration handle.
// provides: 0
// consumes: 1
// expect: bad-handle
// rule: R33
// needs: a provider comes
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ACORN_POOL_TAG 'rocA'

typedef struct _ACORN_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ACORN_CLIENT_DISPATCH;

typedef struct _ACORN_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} ACORN_BINDING, *PACORN_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AcornUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN AcornAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AcornDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AcornCleanupBindingContext;

static const NPIID AcornNpiId = { 0xe60fc239, 0xdb4d, 0x59c2, { 0x8d, 0x44, 0x63, 0x5c, 0x59, 0xdc, 0xc6, 0xdc } };
static const NPI_MODULEID AcornModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa6e531ab, 0x52bf, 0x5fa2, { 0x94, 0x88, 0x2f, 0xd8, 0xf5, 0x03, 0x36, 0x90 } } }
};

static const NPI_CLIENT_CHARACTERISTICS AcornCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AcornAttachProvider,
    AcornDetachProvider,
    AcornCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AcornNpiId, &AcornModuleId, 0, NULL }
};

static HANDLE AcornClientHandle;

static VOID NTAPI
AcornNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PACORN_BINDING Binding = (PACORN_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ACORN_CLIENT_DISPATCH AcornDispatch = { AcornNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
AcornAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PACORN_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PACORN_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ACORN_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    Status = NmrClientAttachProvider(
        AcornClientHandle, // Defect: names the registration, not the binding.
        Binding,
        &AcornDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ACORN_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AcornDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AcornCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ACORN_POOL_TAG);
}

_Use_decl_annotations_
static VOID
AcornUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(AcornClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AcornClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AcornUnload;
    return NmrRegisterClient(&AcornCharacteristics, NULL, &AcornClientHandle);
}
