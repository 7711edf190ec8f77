// nmrfuzz: module
// summary: Client that opens a session with each provider, and closes it in its cleanup callback.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R87
// needs: nothing
// interleaving: no
// hardness: 1 schedules; 2 run to completion

// The session lasts as long as the binding. Nothing else calls the provider, so the detach has nothing to wait for.

#include <ntddk.h>
#include <netioddk.h>

#define LEDGER_POOL_TAG 'gdeL'

typedef struct _LEDGER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Open)(_In_ PVOID ProviderBindingContext);
    VOID(NTAPI *Close)(_In_ PVOID ProviderBindingContext);
} LEDGER_PROVIDER_DISPATCH, *PLEDGER_PROVIDER_DISPATCH;

typedef struct _LEDGER_BINDING {
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    BOOLEAN Opened;
} LEDGER_BINDING, *PLEDGER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LedgerUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN LedgerAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LedgerDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LedgerCleanupBindingContext;

static const NPIID LedgerNpiId = { 0x3cc69c2c, 0x6c13, 0x4776, { 0x96, 0x0a, 0xc5, 0xc3, 0x81, 0x8a, 0x08, 0x51 } };
static const NPI_MODULEID LedgerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x483b9097, 0x666c, 0x408d, { 0xa7, 0xdf, 0xfc, 0xb3, 0x18, 0xb9, 0xf4, 0xff } } }
};

static const NPI_CLIENT_CHARACTERISTICS LedgerCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LedgerAttachProvider,
    LedgerDetachProvider,
    LedgerCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LedgerNpiId, &LedgerModuleId, 0, NULL }
};

static HANDLE LedgerClientHandle;

_Use_decl_annotations_
static NTSTATUS NTAPI
LedgerAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLEDGER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PLEDGER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LEDGER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, LEDGER_POOL_TAG);
        return Status;
    }

    Binding->Opened = NT_SUCCESS(
        ((const LEDGER_PROVIDER_DISPATCH *)Binding->ProviderDispatch)->Open(Binding->ProviderBindingContext));
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LedgerDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LedgerCleanupBindingContext(PVOID ClientBindingContext)
{
    PLEDGER_BINDING Binding = (PLEDGER_BINDING)ClientBindingContext;

    // Defect: both sides are detached by now. The detach callback is the last place that may call the provider.
    if (Binding->Opened) {
        ((const LEDGER_PROVIDER_DISPATCH *)Binding->ProviderDispatch)->Close(Binding->ProviderBindingContext);
    }
    ExFreePoolWithTag(Binding, LEDGER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LedgerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(LedgerClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LedgerClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LedgerUnload;
    return NmrRegisterClient(&LedgerCharacteristics, NULL, &LedgerClientHandle);
}
