// nmrfuzz: module
// summary: Client that leaves the freeing of a refused binding context to a cleanup callback that never comes.
// provides: 0
// consumes: 1
// expect: memory-leak
// rule: R42
// needs: provider declines, or the attach fails
// interleaving: no
// hardness: 9 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LOOKUP_POOL_TAG 'kooL'

typedef struct _LOOKUP_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} LOOKUP_CLIENT_DISPATCH;

typedef struct _LOOKUP_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} LOOKUP_BINDING, *PLOOKUP_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LookupUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN LookupAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LookupDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LookupCleanupBindingContext;

static const NPIID LookupNpiId = { 0x200b0de0, 0xf72f, 0x56a8, { 0xa3, 0x7c, 0x17, 0xe4, 0xab, 0xdb, 0x93, 0xf5 } };
static const NPI_MODULEID LookupModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc696aaba, 0x0eed, 0x5a6e, { 0x82, 0xe1, 0xde, 0x85, 0x77, 0x21, 0x80, 0x9b } } }
};

static const NPI_CLIENT_CHARACTERISTICS LookupCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LookupAttachProvider,
    LookupDetachProvider,
    LookupCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LookupNpiId, &LookupModuleId, 0, NULL }
};

static HANDLE LookupClientHandle;

static VOID NTAPI
LookupNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PLOOKUP_BINDING Binding = (PLOOKUP_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const LOOKUP_CLIENT_DISPATCH LookupDispatch = { LookupNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
LookupAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLOOKUP_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PLOOKUP_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LOOKUP_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    // Defect: if this fails, the binding context is nobody's.
    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &LookupDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LookupDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LookupCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, LOOKUP_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LookupUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(LookupClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LookupClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LookupUnload;
    return NmrRegisterClient(&LookupCharacteristics, NULL, &LookupClientHandle);
}
