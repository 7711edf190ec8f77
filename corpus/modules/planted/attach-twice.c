// nmrfuzz: module
// summary: Client that attaches once more to see whether its provider is still of the same mind.
// provides: 0
// consumes: 1
// expect: bad-call
// rule: R46
// needs: a provider accepts
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ZEPHYR_POOL_TAG 'hpeZ'

typedef struct _ZEPHYR_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} ZEPHYR_CLIENT_DISPATCH;

typedef struct _ZEPHYR_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} ZEPHYR_BINDING, *PZEPHYR_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ZephyrUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN ZephyrAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ZephyrDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ZephyrCleanupBindingContext;

static const NPIID ZephyrNpiId = { 0x486b88e2, 0xa063, 0x5579, { 0xbd, 0x2c, 0x64, 0xcc, 0xf9, 0xa3, 0xbd, 0x33 } };
static const NPI_MODULEID ZephyrModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xdb5a9da8, 0x6127, 0x57cb, { 0x9d, 0xf0, 0x89, 0x36, 0x2b, 0x47, 0x68, 0x92 } } }
};

static const NPI_CLIENT_CHARACTERISTICS ZephyrCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ZephyrAttachProvider,
    ZephyrDetachProvider,
    ZephyrCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ZephyrNpiId, &ZephyrModuleId, 0, NULL }
};

static HANDLE ZephyrClientHandle;

static VOID NTAPI
ZephyrNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PZEPHYR_BINDING Binding = (PZEPHYR_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const ZEPHYR_CLIENT_DISPATCH ZephyrDispatch = { ZephyrNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
ZephyrAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PZEPHYR_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PZEPHYR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ZEPHYR_POOL_TAG);
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
        &ZephyrDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        // Defect: the provider has accepted; there is nothing more to ask.
        Status = NmrClientAttachProvider(
            NmrBindingHandle,
            Binding,
            &ZephyrDispatch,
            &Binding->ProviderBindingContext,
            &Binding->ProviderDispatch);
    }
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, ZEPHYR_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ZephyrDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ZephyrCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ZEPHYR_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ZephyrUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(ZephyrClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ZephyrClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ZephyrUnload;
    return NmrRegisterClient(&ZephyrCharacteristics, NULL, &ZephyrClientHandle);
}
