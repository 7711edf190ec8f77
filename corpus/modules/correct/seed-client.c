// nmrfuzz: module
// summary: Client of one NPI that attaches to every provider, undoes a refused attach itself and never calls the provider.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

#include <ntddk.h>
#include <netioddk.h>

#define PROBE_POOL_TAG 'borP'

typedef struct _PROBE_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} PROBE_CLIENT_DISPATCH;

typedef struct _PROBE_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} PROBE_BINDING, *PPROBE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ProbeUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN ProbeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ProbeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ProbeCleanupBindingContext;

static const NPIID ProbeNpiId = { 0xe303e82f, 0x9d4e, 0x57b1, { 0xbb, 0x95, 0x57, 0xef, 0xd7, 0xbc, 0xc8, 0x38 } };
static const NPI_MODULEID ProbeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe601b287, 0xde56, 0x573e, { 0xb2, 0xd4, 0x7a, 0xcf, 0x8e, 0x09, 0x09, 0x9b } } }
};

static const NPI_CLIENT_CHARACTERISTICS ProbeCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ProbeAttachProvider,
    ProbeDetachProvider,
    ProbeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ProbeNpiId, &ProbeModuleId, 0, NULL }
};

static HANDLE ProbeClientHandle;

static VOID NTAPI
ProbeNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PPROBE_BINDING Binding = (PPROBE_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const PROBE_CLIENT_DISPATCH ProbeDispatch = { ProbeNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
ProbeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPROBE_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PPROBE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PROBE_POOL_TAG);
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
        &ProbeDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, PROBE_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ProbeDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ProbeCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PROBE_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ProbeUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(ProbeClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ProbeClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ProbeUnload;
    return NmrRegisterClient(&ProbeCharacteristics, NULL, &ProbeClientHandle);
}
