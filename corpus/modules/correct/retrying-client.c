// nmrfuzz: module
// summary: Client that offers its newer interface first and its older one when the provider does not know the newer.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Only STATUS_NOINTERFACE says that the provider does not want this dispatch; any other failure would meet the older
// one as well. Whatever the last attempt returned is what the attach callback returns.

#include <ntddk.h>
#include <netioddk.h>

#define PARLEY_POOL_TAG 'lraP'

typedef struct _PARLEY_CLIENT_DISPATCH_V1 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
} PARLEY_CLIENT_DISPATCH_V1;

typedef struct _PARLEY_CLIENT_DISPATCH_V2 {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext);
    VOID(NTAPI *NotifyMany)(_In_ PVOID ClientBindingContext, _In_ ULONG Count);
} PARLEY_CLIENT_DISPATCH_V2;

typedef struct _PARLEY_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    LONG Notifications;
} PARLEY_BINDING, *PPARLEY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ParleyUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN ParleyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ParleyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ParleyCleanupBindingContext;

static const NPIID ParleyNpiId = { 0xf771307c, 0xee30, 0x5f5e, { 0x96, 0xcf, 0x6a, 0xfb, 0xa8, 0xc5, 0x48, 0xf7 } };
static const NPI_MODULEID ParleyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x33fd81c1, 0x1a3d, 0x51b5, { 0xba, 0x83, 0x4d, 0xa8, 0x4a, 0x4f, 0xf0, 0xb5 } } }
};

static const NPI_CLIENT_CHARACTERISTICS ParleyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ParleyAttachProvider,
    ParleyDetachProvider,
    ParleyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ParleyNpiId, &ParleyModuleId, 0, NULL }
};

static HANDLE ParleyClientHandle;
static KSPIN_LOCK ParleyLock;
_Guarded_by_(ParleyLock) static ULONG ParleyOlderProviders;

static VOID NTAPI
ParleyNotify(_In_ PVOID ClientBindingContext)
{
    PPARLEY_BINDING Binding = (PPARLEY_BINDING)ClientBindingContext;

    InterlockedIncrement(&Binding->Notifications);
}

static VOID NTAPI
ParleyNotifyMany(_In_ PVOID ClientBindingContext, _In_ ULONG Count)
{
    PPARLEY_BINDING Binding = (PPARLEY_BINDING)ClientBindingContext;

    InterlockedExchangeAdd(&Binding->Notifications, (LONG)Count);
}

static const PARLEY_CLIENT_DISPATCH_V1 ParleyDispatchV1 = { ParleyNotify };
static const PARLEY_CLIENT_DISPATCH_V2 ParleyDispatchV2 = { ParleyNotify, ParleyNotifyMany };

// The second attempt, counted under the lock.
_Must_inspect_result_
static NTSTATUS
ParleyAttachOlder(_In_ PPARLEY_BINDING Binding)
{
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrClientAttachProvider(
        Binding->BindingHandle,
        Binding,
        &ParleyDispatchV1,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_SUCCESS) {
        KeAcquireSpinLock(&ParleyLock, &OldIrql);
        ParleyOlderProviders++;
        KeReleaseSpinLock(&ParleyLock, OldIrql);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ParleyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPARLEY_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPARLEY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PARLEY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &ParleyDispatchV2,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
    if (Status == STATUS_NOINTERFACE) {
        Status = ParleyAttachOlder(Binding);
    }
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PARLEY_POOL_TAG);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ParleyDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ParleyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PARLEY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ParleyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(ParleyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ParleyClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ParleyUnload;
    KeInitializeSpinLock(&ParleyLock);

    return NmrRegisterClient(&ParleyCharacteristics, NULL, &ParleyClientHandle);
}
