// policy.c - client of the policy NPI. See hub.h.

#include "hub.h"

typedef struct _HUB_POLICY_CLIENT_DISPATCH {
    VOID(NTAPI *PolicyChanged)(_In_ PVOID ClientBindingContext);
} HUB_POLICY_CLIENT_DISPATCH;

static NPI_CLIENT_ATTACH_PROVIDER_FN HubPolicyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN HubPolicyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN HubPolicyCleanupBindingContext;

static const NPIID HubPolicyNpiId = { 0xa95d73c7, 0x1df4, 0x50cf, { 0x80, 0x01, 0x8c, 0x8a, 0x04, 0x66, 0xb6, 0xaa } };
static const NPI_MODULEID HubPolicyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xaa100c98, 0x6f1d, 0x514b, { 0xa1, 0x34, 0x4c, 0x10, 0x29, 0x5b, 0xcf, 0x91 } } }
};

static const NPI_CLIENT_CHARACTERISTICS HubPolicyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    HubPolicyAttachProvider,
    HubPolicyDetachProvider,
    HubPolicyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HubPolicyNpiId, &HubPolicyModuleId, 0, NULL }
};

VOID
HubPolicyInitialize(VOID)
{
    KeInitializeSpinLock(&Hub.PolicyLock);
    InitializeListHead(&Hub.Policies);
}

// May come as soon as the provider has been given the binding context, thus before it is on the list.
static VOID NTAPI
HubPolicyChanged(_In_ PVOID ClientBindingContext)
{
    PHUB_POLICY Policy = (PHUB_POLICY)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    Policy->VisitOwed = TRUE;
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);

    HubSamplerWake();
}

static const HUB_POLICY_CLIENT_DISPATCH HubPolicyClientDispatch = { HubPolicyChanged };

// Takes one of the places for policies; FALSE if all are taken.
_Must_inspect_result_
static BOOLEAN
HubPolicyReserve(VOID)
{
    BOOLEAN Reserved = FALSE;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    if (Hub.PolicyCount < HUB_MAX_POLICIES) {
        Hub.PolicyCount++;
        Reserved = TRUE;
    }
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);
    return Reserved;
}

static VOID
HubPolicyUnreserve(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    Hub.PolicyCount--;
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HubPolicyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PHUB_POLICY Policy;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (!HubPolicyReserve()) {
        return STATUS_NOINTERFACE;
    }

    Policy = (PHUB_POLICY)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Policy), HUB_POOL_TAG);
    if (Policy == NULL) {
        HubPolicyUnreserve();
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Policy->BindingHandle = NmrBindingHandle;
    Policy->VisitOwed = TRUE;

    Status = NmrClientAttachProvider(
        NmrBindingHandle,
        Policy,
        &HubPolicyClientDispatch,
        &Policy->ProviderBindingContext,
        &Policy->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Policy, HUB_POOL_TAG);
        HubPolicyUnreserve();
        return Status;
    }

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    InsertTailList(&Hub.Policies, &Policy->Link);
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);

    HubSamplerWake();
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HubPolicyDetachProvider(PVOID ClientBindingContext)
{
    PHUB_POLICY Policy = (PHUB_POLICY)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    // One step with the decision in HubPolicyEndUse.
    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    RemoveEntryList(&Policy->Link);
    Policy->Detaching = TRUE;
    Busy = Policy->UsesInProgress != 0;
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HubPolicyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, HUB_POOL_TAG);
    HubPolicyUnreserve();
}

_Use_decl_annotations_
VOID
HubPolicyTickAtDpcLevel(VOID)
{
    PLIST_ENTRY Entry;

    KeAcquireSpinLockAtDpcLevel(&Hub.PolicyLock);
    for (Entry = Hub.Policies.Flink; Entry != &Hub.Policies; Entry = Entry->Flink) {
        PHUB_POLICY Policy = CONTAINING_RECORD(Entry, HUB_POLICY, Link);

        Policy->Ticks++;
        Policy->VisitOwed = TRUE;
    }
    KeReleaseSpinLockFromDpcLevel(&Hub.PolicyLock);
}

_Use_decl_annotations_
PHUB_POLICY
HubPolicyBeginUse(VOID)
{
    PHUB_POLICY Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    for (Entry = Hub.Policies.Flink; Entry != &Hub.Policies && Found == NULL; Entry = Entry->Flink) {
        PHUB_POLICY Policy = CONTAINING_RECORD(Entry, HUB_POLICY, Link);

        if (Policy->VisitOwed) {
            Policy->VisitOwed = FALSE;
            Policy->UsesInProgress++;
            Found = Policy;
        }
    }
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);
    return Found;
}

_Use_decl_annotations_
VOID
HubPolicyEndUse(PHUB_POLICY Policy)
{
    HANDLE BindingHandle = Policy->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    Policy->UsesInProgress--;
    Last = Policy->Detaching && Policy->UsesInProgress == 0;
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);

    // Cleanup may run in here and takes the lock.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
ULONG
HubPolicyCount(VOID)
{
    ULONG Count;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Hub.PolicyLock, &OldIrql);
    Count = Hub.PolicyCount;
    KeReleaseSpinLock(&Hub.PolicyLock, OldIrql);
    return Count;
}

_Use_decl_annotations_
NTSTATUS
HubPolicyRegister(VOID)
{
    NTSTATUS Status;

    Status = NmrRegisterClient(&HubPolicyCharacteristics, NULL, &Hub.PolicyHandle);
    Hub.PolicyRegistered = NT_SUCCESS(Status);
    return Status;
}

_Use_decl_annotations_
BOOLEAN
HubPolicyDeregister(VOID)
{
    NTSTATUS Status;

    Status = NmrDeregisterClient(Hub.PolicyHandle);
    NT_ASSERT(NT_SUCCESS(Status));
    return Status == STATUS_PENDING;
}

_Use_decl_annotations_
VOID
HubPolicyWait(VOID)
{
    NmrWaitForClientDeregisterComplete(Hub.PolicyHandle);
}
