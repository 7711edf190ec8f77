// nmrfuzz: module
// summary: Client whose Unload takes STATUS_PENDING for success and never waits.
// provides: 0
// consumes: 1
// expect: unload-pending
// rule: R91, R90
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SCAN_POOL_TAG 'nacS'

typedef struct _SCAN_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} SCAN_CLIENT_DISPATCH;

typedef struct _SCAN_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} SCAN_BINDING, *PSCAN_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ScanUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN ScanAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ScanDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ScanCleanupBindingContext;

static const NPIID ScanNpiId = { 0x5ffab755, 0x546c, 0x57ec, { 0x9d, 0xf7, 0x76, 0x89, 0x84, 0x98, 0x7c, 0xe3 } };
static const NPI_MODULEID ScanModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x7f205208, 0x6f18, 0x5a03, { 0x85, 0x27, 0x76, 0xc2, 0x0d, 0xb8, 0x96, 0xbd } } }
};

static const NPI_CLIENT_CHARACTERISTICS ScanCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ScanAttachProvider,
    ScanDetachProvider,
    ScanCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ScanNpiId, &ScanModuleId, 0, NULL }
};

static HANDLE ScanClientHandle;

static VOID NTAPI
ScanNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PSCAN_BINDING Binding = (PSCAN_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const SCAN_CLIENT_DISPATCH ScanDispatch = { ScanNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
ScanAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSCAN_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PSCAN_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SCAN_POOL_TAG);
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
        &ScanDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, SCAN_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ScanDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ScanCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SCAN_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ScanUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(ScanClientHandle);
    // Defect: STATUS_PENDING is a success code, so the wait is never reached.
    if (!NT_SUCCESS(Status)) {
        NmrWaitForClientDeregisterComplete(ScanClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ScanUnload;
    return NmrRegisterClient(&ScanCharacteristics, NULL, &ScanClientHandle);
}
