// nmrfuzz: module
// summary: Client that holds its spin lock while it asks the provider.
// provides: 0
// consumes: 1
// expect: irql
// rule: R34
// needs: a provider comes
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define UMBER_POOL_TAG 'ebmU'

typedef struct _UMBER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} UMBER_CLIENT_DISPATCH;

typedef struct _UMBER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} UMBER_BINDING, *PUMBER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD UmberUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN UmberAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN UmberDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN UmberCleanupBindingContext;

static const NPIID UmberNpiId = { 0x92340f42, 0xd6eb, 0x57c9, { 0x80, 0xf1, 0xf5, 0x91, 0xf7, 0x3b, 0x0d, 0x1d } };
static const NPI_MODULEID UmberModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd1c94d97, 0xcb43, 0x502a, { 0xbc, 0x09, 0x3b, 0xf1, 0x1b, 0xe3, 0x36, 0xba } } }
};

static const NPI_CLIENT_CHARACTERISTICS UmberCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    UmberAttachProvider,
    UmberDetachProvider,
    UmberCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &UmberNpiId, &UmberModuleId, 0, NULL }
};

static HANDLE UmberClientHandle;
static KSPIN_LOCK UmberLock;

static VOID NTAPI
UmberNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PUMBER_BINDING Binding = (PUMBER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const UMBER_CLIENT_DISPATCH UmberDispatch = { UmberNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
UmberAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PUMBER_BINDING Binding;
    KIRQL Irql;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PUMBER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), UMBER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    // Defect: at DISPATCH_LEVEL the provider cannot be asked.
    KeAcquireSpinLock(&UmberLock, &Irql);
    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &UmberDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    KeReleaseSpinLock(&UmberLock, Irql);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, UMBER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
UmberDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
UmberCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, UMBER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
UmberUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(UmberClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(UmberClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = UmberUnload;
    KeInitializeSpinLock(&UmberLock);
    return NmrRegisterClient(&UmberCharacteristics, NULL, &UmberClientHandle);
}
