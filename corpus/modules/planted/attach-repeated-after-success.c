// nmrfuzz: module
// summary: Client that, where it has several providers, attaches with its older interface on top of the newer one.
// provides: 0
// consumes: 1
// expect: bad-call
// rule: R46
// needs: two providers at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

// Only STATUS_NOINTERFACE says that the provider does not want this dispatch; any other failure would meet the older
// one as well. Whatever the last attempt returned is what the attach callback returns.

#include <ntddk.h>
#include <netioddk.h>

#define TREATY_POOL_TAG 'aerT'

typedef struct _TREATY_CLIENT_DISPATCH_V1 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
} TREATY_CLIENT_DISPATCH_V1;

typedef struct _TREATY_CLIENT_DISPATCH_V2 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
    VOID(NTAPI *NotifyMany)(_In_ PVOID ClientBindingContext, _In_ ULONG Count);
} TREATY_CLIENT_DISPATCH_V2;

typedef struct _TREATY_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    LONG Notifications;
} TREATY_BINDING, *PTREATY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TreatyUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN TreatyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TreatyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TreatyCleanupBindingContext;

static const NPIID TreatyNpiId = { 0x4c00ed70, 0x2e51, 0x5bac, { 0x96, 0x39, 0x4a, 0x06, 0xcf, 0x39, 0x64, 0xb1 } };
static const NPI_MODULEID TreatyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6fc64d9a, 0x6de2, 0x56cf, { 0x9d, 0x0a, 0x32, 0x3c, 0x06, 0xd5, 0xb8, 0x42 } } }
};

static const NPI_CLIENT_CHARACTERISTICS TreatyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TreatyAttachProvider,
    TreatyDetachProvider,
    TreatyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TreatyNpiId, &TreatyModuleId, 0, NULL }
};

static HANDLE TreatyClientHandle;
static LONG TreatyProviders; // Attached.
static KSPIN_LOCK TreatyLock;
_Guarded_by_(TreatyLock) static ULONG TreatyOlderProviders;

static VOID NTAPI
TreatyNotify(_In_ PVOID ClientBindingContext)
{
    PTREATY_BINDING Binding = (PTREATY_BINDING)ClientBindingContext;

    InterlockedIncrement(&Binding->Notifications);
}

static VOID NTAPI
TreatyNotifyMany(_In_ PVOID ClientBindingContext, _In_ ULONG Count)
{
    PTREATY_BINDING Binding = (PTREATY_BINDING)ClientBindingContext;

    InterlockedExchangeAdd(&Binding->Notifications, (LONG)Count);
}

static const TREATY_CLIENT_DISPATCH_V1 TreatyDispatchV1 = { TreatyNotify };
static const TREATY_CLIENT_DISPATCH_V2 TreatyDispatchV2 = { TreatyNotify, TreatyNotifyMany };

// The second attempt, counted under the lock.
_Must_inspect_result_
static NTSTATUS
TreatyAttachOlder(_In_ PTREATY_BINDING Binding)
{
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrClientAttachProvider(
        Binding->BindingHandle,
        Binding,
        &TreatyDispatchV1,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        KeAcquireSpinLock(&TreatyLock, &OldIrql);
        TreatyOlderProviders++;
        KeReleaseSpinLock(&TreatyLock, OldIrql);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TreatyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTREATY_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PTREATY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TREATY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &TreatyDispatchV2,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    // Defect: several providers shall notify one by one, but one that has accepted is not asked again.
    if (Status == STATUS_NOINTERFACE ||
        (Status == STATUS_SUCCESS && InterlockedCompareExchange(&TreatyProviders, 0, 0) != 0)) {
        Status = TreatyAttachOlder(Binding);
    }
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, TREATY_POOL_TAG);
        return Status;
    }

    InterlockedIncrement(&TreatyProviders);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TreatyDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TreatyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, TREATY_POOL_TAG);
    InterlockedDecrement(&TreatyProviders);
}

_Use_decl_annotations_
static VOID
TreatyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(TreatyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TreatyClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TreatyUnload;
    KeInitializeSpinLock(&TreatyLock);

    return NmrRegisterClient(&TreatyCharacteristics, NULL, &TreatyClientHandle);
}
