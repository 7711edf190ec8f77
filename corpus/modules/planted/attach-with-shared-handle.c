// nmrfuzz: module
// summary: Client that passes the binding handle to its connecting routine through a global, which all offers share.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle
// rule: R33
// needs: two providers are offered at the same time
// interleaving: yes
// hardness: 72 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define USHER_POOL_TAG 'hsrU'

typedef struct _USHER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} USHER_CLIENT_DISPATCH;

typedef struct _USHER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} USHER_BINDING, *PUSHER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD UsherUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN UsherAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN UsherDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN UsherCleanupBindingContext;

static const NPIID UsherNpiId = { 0x945d1e5c, 0x6317, 0x5d9d, { 0xad, 0x4a, 0xfe, 0xf1, 0x73, 0xa6, 0x03, 0xcb } };
static const NPI_MODULEID UsherModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb1a4c81c, 0x0a5e, 0x52c4, { 0x9c, 0x09, 0xec, 0x7f, 0xcd, 0x3a, 0x07, 0x06 } } }
};

static const NPI_CLIENT_CHARACTERISTICS UsherCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    UsherAttachProvider,
    UsherDetachProvider,
    UsherCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &UsherNpiId, &UsherModuleId, 0, NULL }
};

static HANDLE UsherClientHandle;
static HANDLE UsherOfferedHandle; // The binding that is being connected.

static VOID NTAPI
UsherNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PUSHER_BINDING Binding = (PUSHER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const USHER_CLIENT_DISPATCH UsherDispatch = { UsherNotify };

_Must_inspect_result_
static NTSTATUS
UsherConnect(_In_ PUSHER_BINDING Binding)
{
    // Defect: another offer may have replaced the handle. It ought to be an argument.
    return NmrClientAttachProvider(
        InterlockedCompareExchangePointer(&UsherOfferedHandle, NULL, NULL),
        Binding,
        &UsherDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
UsherAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PUSHER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PUSHER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), USHER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    InterlockedExchangePointer(&UsherOfferedHandle, NmrBindingHandle);
    Status = UsherConnect(Binding);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, USHER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
UsherDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
UsherCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, USHER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
UsherUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(UsherClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(UsherClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = UsherUnload;
    return NmrRegisterClient(&UsherCharacteristics, NULL, &UsherClientHandle);
}
