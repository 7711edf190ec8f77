// nmrfuzz: module
// summary: Client that uses the dispatch of its first provider only, and passes no place for those of the others.
// provides: 0
// consumes: 1
// expect: bad-call
// rule: R35
// needs: two providers at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define DOWSER_POOL_TAG 'swoD'

typedef struct _DOWSER_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} DOWSER_CLIENT_DISPATCH;

typedef struct _DOWSER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ProviderNumber;
    BOOLEAN ProviderIsNamed;
    LONG Notifications;
} DOWSER_BINDING, *PDOWSER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DowserUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN DowserAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DowserDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN DowserCleanupBindingContext;

static const NPIID DowserNpiId = { 0x68235b9f, 0x02ad, 0x54ba, { 0x9a, 0x8b, 0xf3, 0x8b, 0x18, 0x37, 0x88, 0x11 } };
static const NPI_MODULEID DowserModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb415c97b, 0x51bc, 0x53a9, { 0x84, 0x62, 0xcc, 0x39, 0x03, 0x81, 0x17, 0x1c } } }
};

static const NPI_CLIENT_CHARACTERISTICS DowserCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    DowserAttachProvider,
    DowserDetachProvider,
    DowserCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DowserNpiId, &DowserModuleId, 0, NULL }
};

static HANDLE DowserClientHandle;
static LONG DowserProviders; // Attached or about to be.

static VOID NTAPI
DowserNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PDOWSER_BINDING Binding = (PDOWSER_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const DOWSER_CLIENT_DISPATCH DowserDispatch = { DowserNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
DowserAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PDOWSER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PDOWSER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), DOWSER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Complete before the provider is told of it, for the provider may notify at once. Its instance is read now,
    // not kept: it belongs to the provider. A provider need not have a module id.
    Binding->BindingHandle = NmrBindingHandle;
    Binding->ProviderNumber = ProviderRegistrationInstance->Number;
    Binding->ProviderIsNamed = ProviderRegistrationInstance->ModuleId != NULL;

    // Defect: neither output may be left out.
    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &DowserDispatch,
        &Binding->ProviderBindingContext,
        InterlockedIncrement(&DowserProviders) == 1 ? &Binding->ProviderDispatch : NULL);
    if (Status != STATUS_SUCCESS) {
        // Refused: no detach and no cleanup callback will come for this context.
        ExFreePoolWithTag(Binding, DOWSER_POOL_TAG);
        InterlockedDecrement(&DowserProviders);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DowserDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DowserCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, DOWSER_POOL_TAG);
    InterlockedDecrement(&DowserProviders);
}

_Use_decl_annotations_
static VOID
DowserUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(DowserClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(DowserClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DowserUnload;
    return NmrRegisterClient(&DowserCharacteristics, NULL, &DowserClientHandle);
}
