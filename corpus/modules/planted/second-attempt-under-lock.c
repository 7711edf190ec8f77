// nmrfuzz: module
// summary: Client that makes its second attempt at an attach, and counts its success, under one spin lock.
// provides: 0
// consumes: 1
// expect: irql
// rule: R34
// needs: provider declines the first attempt
// interleaving: no
// hardness: 9 schedules; 4 run to completion

// Only STATUS_NOINTERFACE says that the provider does not want this dispatch; any other failure would meet the older
// one as well. Whatever the last attempt returned is what the attach callback returns.

#include <ntddk.h>
#include <netioddk.h>

#define BARTER_POOL_TAG 'traB'

typedef struct _BARTER_CLIENT_DISPATCH_V1 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
} BARTER_CLIENT_DISPATCH_V1;

typedef struct _BARTER_CLIENT_DISPATCH_V2 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
    VOID(NTAPI *NotifyMany)(_In_ PVOID ClientBindingContext, _In_ ULONG Count);
} BARTER_CLIENT_DISPATCH_V2;

typedef struct _BARTER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    LONG Notifications;
} BARTER_BINDING, *PBARTER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BarterUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN BarterAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BarterDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BarterCleanupBindingContext;

static const NPIID BarterNpiId = { 0x7871afbd, 0xba7e, 0x5164, { 0x80, 0x72, 0xbc, 0xf6, 0xe4, 0x7f, 0x39, 0x84 } };
static const NPI_MODULEID BarterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x538543fd, 0x0565, 0x50a8, { 0x95, 0x4f, 0x4f, 0x67, 0x80, 0x40, 0x4e, 0xcd } } }
};

static const NPI_CLIENT_CHARACTERISTICS BarterCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BarterAttachProvider,
    BarterDetachProvider,
    BarterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BarterNpiId, &BarterModuleId, 0, NULL }
};

static HANDLE BarterClientHandle;
static KSPIN_LOCK BarterLock;
_Guarded_by_(BarterLock) static ULONG BarterOlderProviders;

static VOID NTAPI
BarterNotify(_In_ PVOID ClientBindingContext)
{
    PBARTER_BINDING Binding = (PBARTER_BINDING)ClientBindingContext;

    InterlockedIncrement(&Binding->Notifications);
}

static VOID NTAPI
BarterNotifyMany(_In_ PVOID ClientBindingContext, _In_ ULONG Count)
{
    PBARTER_BINDING Binding = (PBARTER_BINDING)ClientBindingContext;

    InterlockedExchangeAdd(&Binding->Notifications, (LONG)Count);
}

static const BARTER_CLIENT_DISPATCH_V1 BarterDispatchV1 = { BarterNotify };
static const BARTER_CLIENT_DISPATCH_V2 BarterDispatchV2 = { BarterNotify, BarterNotifyMany };

// The second attempt, counted under the lock.
_Must_inspect_result_
static NTSTATUS
BarterAttachOlder(_In_ PBARTER_BINDING Binding)
{
    NTSTATUS Status;
    KIRQL OldIrql;

    // Defect: the lock that guards the count is held across the attach, which takes PASSIVE_LEVEL.
    KeAcquireSpinLock(&BarterLock, &OldIrql);
    Status = NmrClientAttachProvider(
        Binding->BindingHandle,
        Binding,
        &BarterDispatchV1,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        BarterOlderProviders++;
    }
    KeReleaseSpinLock(&BarterLock, OldIrql);

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BarterAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBARTER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PBARTER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BARTER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &BarterDispatchV2,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_NOINTERFACE) {
        Status = BarterAttachOlder(Binding);
    }
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, BARTER_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BarterDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BarterCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BARTER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BarterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BarterClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BarterClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BarterUnload;
    KeInitializeSpinLock(&BarterLock);

    return NmrRegisterClient(&BarterCharacteristics, NULL, &BarterClientHandle);
}
