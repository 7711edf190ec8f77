// hook.c - provider of the hook NPI. See hub.h.

#include "hub.h"

typedef struct _HUB_HOOK_DISPATCH {
    VOID(NTAPI *ReportFlow)(_In_ PVOID ProviderBindingContext, _In_ ULONG Bytes);
} HUB_HOOK_DISPATCH;

// Provider characteristics of the hook NPI.
typedef struct _HUB_HOOK_PROPERTIES {
    ULONG Version;
    ULONG Layer;
} HUB_HOOK_PROPERTIES;

static NPI_PROVIDER_ATTACH_CLIENT_FN HubHookAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN HubHookDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN HubHookCleanupBindingContext;
static IO_WORKITEM_ROUTINE HubHookDetachWorker;

static const NPIID HubHookNpiId = { 0x9de20c6b, 0x7777, 0x5c9e, { 0x95, 0x12, 0x82, 0xd8, 0xdd, 0x27, 0x1c, 0x26 } };
static const NPI_MODULEID HubHookModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xcec70d5f, 0xe04e, 0x5ef4, { 0x8e, 0x7b, 0x7b, 0x3a, 0xd8, 0x1e, 0xcf, 0x17 } } }
};
static const HUB_HOOK_PROPERTIES HubHookProperties = { 1, 4 };

static const NPI_PROVIDER_CHARACTERISTICS HubHookCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    HubHookAttachClient,
    HubHookDetachClient,
    HubHookCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HubHookNpiId, &HubHookModuleId, 0, &HubHookProperties }
};

static VOID NTAPI
HubHookReportFlow(_In_ PVOID ProviderBindingContext, _In_ ULONG Bytes)
{
    PHUB_HOOK Hook = (PHUB_HOOK)ProviderBindingContext;

    InterlockedExchangeAdd64(&Hook->Bytes, (LONG64)Bytes);
}

static const HUB_HOOK_DISPATCH HubHookDispatch = { HubHookReportFlow };

VOID
HubHookInitialize(VOID)
{
    KeInitializeSpinLock(&Hub.HookLock);
    InitializeListHead(&Hub.Hooks);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HubHookAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PHUB_HOOK Hook;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Hook = (PHUB_HOOK)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Hook), HUB_POOL_TAG);
    if (Hook == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Hook->DetachWorkItem = IoAllocateWorkItem(Hub.ControlDevice);
    if (Hook->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Hook, HUB_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Hook->BindingHandle = NmrBindingHandle;
    Hook->ClientBindingContext = ClientBindingContext;
    Hook->ClientDispatch = ClientDispatch;
    Hook->Id = (ULONG)InterlockedIncrement(&Hub.LastHookId);
    Hook->VisitOwed = TRUE;
    ExInitializeRundownProtection(&Hook->Rundown);

    // Complete: from here on the sampler may visit it.
    KeAcquireSpinLock(&Hub.HookLock, &OldIrql);
    InsertTailList(&Hub.Hooks, &Hook->Link);
    KeReleaseSpinLock(&Hub.HookLock, OldIrql);

    HubSamplerWake();

    *ProviderBindingContext = Hook;
    *ProviderDispatch = &HubHookDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
HubHookDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PHUB_HOOK Hook = (PHUB_HOOK)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    // Off the list already, so no new visit begins; those in progress wait for nothing.
    ExWaitForRundownProtectionRelease(&Hook->Rundown);

    // The hook and this work item may be gone when this returns.
    NmrProviderDetachClientComplete(Hook->BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HubHookDetachClient(PVOID ProviderBindingContext)
{
    PHUB_HOOK Hook = (PHUB_HOOK)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.HookLock, &OldIrql);
    RemoveEntryList(&Hook->Link);
    KeReleaseSpinLock(&Hub.HookLock, OldIrql);

    // Waiting is not for here: this may be DISPATCH_LEVEL.
    IoQueueWorkItem(Hook->DetachWorkItem, HubHookDetachWorker, DelayedWorkQueue, Hook);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
HubHookCleanupBindingContext(PVOID ProviderBindingContext)
{
    PHUB_HOOK Hook = (PHUB_HOOK)ProviderBindingContext;

    IoFreeWorkItem(Hook->DetachWorkItem);
    ExFreePoolWithTag(Hook, HUB_POOL_TAG);
}

_Use_decl_annotations_
VOID
HubHookTickAtDpcLevel(VOID)
{
    PLIST_ENTRY Entry;

    KeAcquireSpinLockAtDpcLevel(&Hub.HookLock);
    for (Entry = Hub.Hooks.Flink; Entry != &Hub.Hooks; Entry = Entry->Flink) {
        CONTAINING_RECORD(Entry, HUB_HOOK, Link)->VisitOwed = TRUE;
    }
    KeReleaseSpinLockFromDpcLevel(&Hub.HookLock);
}

_Use_decl_annotations_
PHUB_HOOK
HubHookBeginVisit(VOID)
{
    PHUB_HOOK Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.HookLock, &OldIrql);
    for (Entry = Hub.Hooks.Flink; Entry != &Hub.Hooks && Found == NULL; Entry = Entry->Flink) {
        PHUB_HOOK Hook = CONTAINING_RECORD(Entry, HUB_HOOK, Link);

        // The rundown begins only after the hook has left the list, so the protection is never refused here.
        if (Hook->VisitOwed && ExAcquireRundownProtection(&Hook->Rundown)) {
            Hook->VisitOwed = FALSE;
            Found = Hook;
        }
    }
    KeReleaseSpinLock(&Hub.HookLock, OldIrql);
    return Found;
}

_Use_decl_annotations_
VOID
HubHookEndVisit(PHUB_HOOK Hook)
{
    ExReleaseRundownProtection(&Hook->Rundown);
}

_Use_decl_annotations_
NTSTATUS
HubHookRegister(VOID)
{
    NTSTATUS Status;

    Status = NmrRegisterProvider(&HubHookCharacteristics, NULL, &Hub.HookHandle);
    Hub.HookRegistered = NT_SUCCESS(Status);
    return Status;
}

_Use_decl_annotations_
BOOLEAN
HubHookDeregister(VOID)
{
    NTSTATUS Status;

    Status = NmrDeregisterProvider(Hub.HookHandle);
    NT_ASSERT(NT_SUCCESS(Status));
    return Status == STATUS_PENDING;
}

_Use_decl_annotations_
VOID
HubHookWait(VOID)
{
    NmrWaitForProviderDeregisterComplete(Hub.HookHandle);
}
