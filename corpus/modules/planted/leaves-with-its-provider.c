// nmrfuzz: module
// summary: Client that deregisters and waits in its detach callback when the provider goes first.
// provides: 0
// consumes: 1
// expect: deadlock, irql, bad-handle
// rule: R104
// needs: a provider leaves before the client does
// interleaving: no
// hardness: 24 schedules; 6 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define HEATH_POOL_TAG 'taeH'

typedef struct _HEATH_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} HEATH_CLIENT_DISPATCH;

typedef struct _HEATH_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} HEATH_BINDING, *PHEATH_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HeathUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN HeathAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN HeathDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN HeathCleanupBindingContext;

static const NPIID HeathNpiId = { 0xf5e15530, 0x13d9, 0x56d6, { 0xb2, 0x30, 0xcf, 0x37, 0xd2, 0x7a, 0x85, 0xa6 } };
static const NPI_MODULEID HeathModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa9d0de30, 0x92f6, 0x5f3a, { 0xae, 0x47, 0x16, 0x4c, 0x74, 0x2b, 0xb8, 0xac } } }
};

static const NPI_CLIENT_CHARACTERISTICS HeathCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    HeathAttachProvider,
    HeathDetachProvider,
    HeathCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HeathNpiId, &HeathModuleId, 0, NULL }
};

static HANDLE HeathClientHandle;
static LONG HeathLeaving;
static KEVENT HeathGone;

static VOID NTAPI
HeathNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PHEATH_BINDING Binding = (PHEATH_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const HEATH_CLIENT_DISPATCH HeathDispatch = { HeathNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
HeathAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PHEATH_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PHEATH_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), HEATH_POOL_TAG);
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
        &HeathDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, HEATH_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeathDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    if (InterlockedExchange(&HeathLeaving, 1) == 0) {
        // Defect: the wait lasts until this callback has returned.
        if (NmrDeregisterClient(HeathClientHandle) == STATUS_PENDING) {
            NmrWaitForClientDeregisterComplete(HeathClientHandle);
        }
        KeSetEvent(&HeathGone, IO_NO_INCREMENT, FALSE);
    }
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HeathCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, HEATH_POOL_TAG);
}

_Use_decl_annotations_
static VOID
HeathUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    if (InterlockedExchange(&HeathLeaving, 1) != 0) {
        KeWaitForSingleObject(&HeathGone, Executive, KernelMode, FALSE, NULL);
        return;
    }
    Status = NmrDeregisterClient(HeathClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(HeathClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HeathUnload;
    KeInitializeEvent(&HeathGone, NotificationEvent, FALSE);
    return NmrRegisterClient(&HeathCharacteristics, NULL, &HeathClientHandle);
}
