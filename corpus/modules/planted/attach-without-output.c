// nmrfuzz: module
// summary: Client that never calls its provider and asks for no dispatch table.
// provides: 0
// consumes: 1
// expect: bad-call
// rule: R35
// needs: a provider comes
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ROSTRUM_POOL_TAG 'tsoR'

typedef struct _ROSTRUM_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ROSTRUM_CLIENT_DISPATCH;

typedef struct _ROSTRUM_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} ROSTRUM_BINDING, *PROSTRUM_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RostrumUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN RostrumAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RostrumDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RostrumCleanupBindingContext;

static const NPIID RostrumNpiId = { 0x2ad82562, 0xfbcb, 0x5f5f, { 0xb9, 0x3c, 0x09, 0x49, 0xc4, 0xb0, 0xe4, 0xde } };
static const NPI_MODULEID RostrumModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x386bc839, 0xdad0, 0x50d5, { 0x88, 0x5f, 0xd3, 0x54, 0x5c, 0x88, 0x59, 0xf2 } } }
};

static const NPI_CLIENT_CHARACTERISTICS RostrumCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RostrumAttachProvider,
    RostrumDetachProvider,
    RostrumCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RostrumNpiId, &RostrumModuleId, 0, NULL }
};

static HANDLE RostrumClientHandle;

static VOID NTAPI
RostrumNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PROSTRUM_BINDING Binding = (PROSTRUM_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ROSTRUM_CLIENT_DISPATCH RostrumDispatch = { RostrumNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
RostrumAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PROSTRUM_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PROSTRUM_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ROSTRUM_POOL_TAG);
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
        &RostrumDispatch,
        &Binding->ProviderBindingContext,
        NULL); // Defect: the output is not optional.
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ROSTRUM_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RostrumDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RostrumCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ROSTRUM_POOL_TAG);
}

_Use_decl_annotations_
static VOID
RostrumUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(RostrumClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RostrumClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RostrumUnload;
    return NmrRegisterClient(&RostrumCharacteristics, NULL, &RostrumClientHandle);
}
