// nmrfuzz: module
// summary: Client that changes its mind about providers without a name after they have accepted.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R39
// needs: a provider accepts
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define DAMSON_POOL_TAG 'smaD'

typedef struct _DAMSON_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} DAMSON_CLIENT_DISPATCH;

typedef struct _DAMSON_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} DAMSON_BINDING, *PDAMSON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DamsonUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN DamsonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DamsonDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN DamsonCleanupBindingContext;

static const NPIID DamsonNpiId = { 0xf1cc0c27, 0xb553, 0x58cf, { 0x9c, 0xf7, 0x93, 0x21, 0x2d, 0xd6, 0x23, 0x3c } };
static const NPI_MODULEID DamsonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x32e29ee8, 0x10c6, 0x59ac, { 0xbc, 0x04, 0xfd, 0x00, 0xb6, 0xed, 0x8c, 0x80 } } }
};

static const NPI_CLIENT_CHARACTERISTICS DamsonCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    DamsonAttachProvider,
    DamsonDetachProvider,
    DamsonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DamsonNpiId, &DamsonModuleId, 0, NULL }
};

static HANDLE DamsonClientHandle;

static VOID NTAPI
DamsonNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PDAMSON_BINDING Binding = (PDAMSON_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const DAMSON_CLIENT_DISPATCH DamsonDispatch = { DamsonNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
DamsonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PDAMSON_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PDAMSON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), DAMSON_POOL_TAG);
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
        &DamsonDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, DAMSON_POOL_TAG);
    }

    if (Status == STATUS_SUCCESS && Binding->ProviderNumber == 0) {
        // Defect: the provider has accepted, and takes the client for attached.
        ExFreePoolWithTag(Binding, DAMSON_POOL_TAG);
        Status = STATUS_NOINTERFACE;
    }
    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DamsonDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DamsonCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, DAMSON_POOL_TAG);
}

_Use_decl_annotations_
static VOID
DamsonUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(DamsonClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(DamsonClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DamsonUnload;
    return NmrRegisterClient(&DamsonCharacteristics, NULL, &DamsonClientHandle);
}
