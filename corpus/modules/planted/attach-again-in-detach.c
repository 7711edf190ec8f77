// nmrfuzz: module
// summary: Client that tries to keep its provider by attaching again in the detach callback.
// provides: 0
// consumes: 1
// expect: bad-call, irql
// rule: R32
// needs: a provider is attached at unload
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define YARROW_POOL_TAG 'rraY'

typedef struct _YARROW_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} YARROW_CLIENT_DISPATCH;

typedef struct _YARROW_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} YARROW_BINDING, *PYARROW_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD YarrowUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN YarrowAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN YarrowDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN YarrowCleanupBindingContext;

static const NPIID YarrowNpiId = { 0xbea8ba4f, 0xd326, 0x5ffd, { 0xb5, 0xde, 0x62, 0x2b, 0xc3, 0xbf, 0xe4, 0x13 } };
static const NPI_MODULEID YarrowModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x434d2d31, 0xadf3, 0x516a, { 0xa2, 0xe5, 0x38, 0xb8, 0xaa, 0x00, 0x48, 0xe0 } } }
};

static const NPI_CLIENT_CHARACTERISTICS YarrowCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    YarrowAttachProvider,
    YarrowDetachProvider,
    YarrowCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &YarrowNpiId, &YarrowModuleId, 0, NULL }
};

static HANDLE YarrowClientHandle;

static VOID NTAPI
YarrowNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PYARROW_BINDING Binding = (PYARROW_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const YARROW_CLIENT_DISPATCH YarrowDispatch = { YarrowNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
YarrowAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PYARROW_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PYARROW_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), YARROW_POOL_TAG);
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
        &YarrowDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, YARROW_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
YarrowDetachProvider(PVOID ClientBindingContext)
{
    PYARROW_BINDING Binding = (PYARROW_BINDING)ClientBindingContext;

    // Defect: a binding attaches in its attach callback or never.
    NmrClientAttachProvider(
        Binding->BindingHandle,
        Binding,
        &YarrowDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
YarrowCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, YARROW_POOL_TAG);
}

_Use_decl_annotations_
static VOID
YarrowUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(YarrowClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(YarrowClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = YarrowUnload;
    return NmrRegisterClient(&YarrowCharacteristics, NULL, &YarrowClientHandle);
}
