// nmrfuzz: module
// summary: Partner of pair-lower that waits for its client before it deregisters its provider, on which the former depends.
// provides: 1
// consumes: 1
// expect: deadlock
// rule: R107
// needs: bindings in both directions, and a partner that does not leave first
// interleaving: no
// hardness: 1 schedules; 5 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ATTIC_ROUNDS 6
#define ATTIC_POOL_TAG 'ittA'

typedef struct _ATTIC_BINDING {
    LIST_ENTRY Link;
    BOOLEAN Offered; // We provide; else we consume.
    HANDLE BindingHandle;
    PVOID PartnerContext;
    CONST VOID *PartnerDispatch;
    LONG Uses; // Guarded by AtticLock, as is the next.
    BOOLEAN DetachPending;
} ATTIC_BINDING, *PATTIC_BINDING;

typedef struct _ATTIC_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID BindingContext);
} ATTIC_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AtticUnload;
static KSTART_ROUTINE AtticThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN AtticAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN AtticAttachProvider;
static NTSTATUS NTAPI AtticDetach(_In_ PVOID BindingContext);
static VOID NTAPI AtticCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID AtticModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xafc92d58, 0xa1ce, 0x5ef9, { 0xb0, 0x0f, 0x91, 0x9f, 0xc3, 0xf3, 0xe5, 0x37 } } }
};
static const NPIID AtticOfferedNpiId =
    { 0xf30a2994, 0xc81e, 0x568a, { 0xa9, 0x27, 0xac, 0x4f, 0x70, 0x12, 0x1e, 0x12 } };
static const NPIID AtticUsedNpiId =
    { 0x3002e387, 0x70bc, 0x5f19, { 0xb5, 0x54, 0x6e, 0xb5, 0x18, 0x7a, 0x96, 0x5c } };

static const NPI_PROVIDER_CHARACTERISTICS AtticProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    AtticAttachClient,
    AtticDetach,
    AtticCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AtticOfferedNpiId, &AtticModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS AtticClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AtticAttachProvider,
    AtticDetach,
    AtticCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AtticUsedNpiId, &AtticModuleId, 0, NULL }
};

static HANDLE AtticProviderHandle;
static HANDLE AtticClientHandle;
static PKTHREAD AtticThreadObject;
static KSPIN_LOCK AtticLock;
_Guarded_by_(AtticLock) static LIST_ENTRY AtticBindings; // Those that are not detaching.
_Guarded_by_(AtticLock) static LIST_ENTRY AtticHeld;     // Bindings of ours to a provider, until nobody uses us.
_Guarded_by_(AtticLock) static ULONG AtticOfferedBindings;
static KEVENT AtticWake;
static volatile LONG AtticStopping;

static ULONG NTAPI
AtticVersion(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return 1;
}

static const ATTIC_DISPATCH AtticDispatch = { AtticVersion };

static VOID
AtticComplete(_In_ PATTIC_BINDING Binding)
{
    if (Binding->Offered) {
        NmrProviderDetachClientComplete(Binding->BindingHandle);
    } else {
        NmrClientDetachProviderComplete(Binding->BindingHandle);
    }
}

// Drops what the offered bindings held, once there are none.
static VOID
AtticReleaseHeld(VOID)
{
    PATTIC_BINDING Binding;
    BOOLEAN Last;
    KIRQL OldIrql;

    for (;;) {
        Binding = NULL;
        Last = FALSE;
        KeAcquireSpinLock(&AtticLock, &OldIrql);
        if (AtticOfferedBindings == 0 && !IsListEmpty(&AtticHeld)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&AtticHeld), ATTIC_BINDING, Link);
            Last = --Binding->Uses == 0;
        }
        KeReleaseSpinLock(&AtticLock, OldIrql);
        if (Binding == NULL) {
            return;
        }
        if (Last) {
            AtticComplete(Binding);
        }
    }
}

// Uses the bindings in turn, a few times; a use counts as a call to the partner.
_Use_decl_annotations_
static VOID
AtticThread(PVOID StartContext)
{
    PATTIC_BINDING Binding;
    BOOLEAN Last;
    ULONG Round;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(StartContext);

    for (Round = 0; Round < ATTIC_ROUNDS; Round++) {
        Binding = NULL;
        KeAcquireSpinLock(&AtticLock, &OldIrql);
        if (!IsListEmpty(&AtticBindings)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&AtticBindings), ATTIC_BINDING, Link);
            InsertTailList(&AtticBindings, &Binding->Link);
            Binding->Uses++;
        }
        KeReleaseSpinLock(&AtticLock, OldIrql);
        if (Binding == NULL) {
            continue;
        }

        KeAcquireSpinLock(&AtticLock, &OldIrql);
        Last = --Binding->Uses == 0 && Binding->DetachPending;
        KeReleaseSpinLock(&AtticLock, OldIrql);
        if (Last) {
            AtticComplete(Binding);
        }
    }
    do {
        KeWaitForSingleObject(&AtticWake, Executive, KernelMode, FALSE, NULL);
        AtticReleaseHeld();
    } while (!AtticStopping);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Must_inspect_result_
static PATTIC_BINDING
AtticNewBinding(_In_ BOOLEAN Offered, _In_ HANDLE BindingHandle)
{
    PATTIC_BINDING Binding;

    Binding = (PATTIC_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ATTIC_POOL_TAG);
    if (Binding != NULL) {
        Binding->Offered = Offered;
        Binding->BindingHandle = BindingHandle;
    }
    return Binding;
}

static VOID
AtticPublish(_In_ PATTIC_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&AtticLock, &OldIrql);
    InsertTailList(&AtticBindings, &Binding->Link);
    AtticOfferedBindings += Binding->Offered;
    KeReleaseSpinLock(&AtticLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AtticAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PATTIC_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = AtticNewBinding(TRUE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PartnerContext = ClientBindingContext;
    Binding->PartnerDispatch = ClientDispatch;
    AtticPublish(Binding);

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &AtticDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AtticAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PATTIC_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = AtticNewBinding(FALSE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &AtticDispatch, &Binding->PartnerContext, &Binding->PartnerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ATTIC_POOL_TAG);
        return Status;
    }

    AtticPublish(Binding);
    return STATUS_SUCCESS;
}

// A client's detach is over when the partner cannot call us any more: what we do for it may lead back to it.
_Use_decl_annotations_
static NTSTATUS NTAPI
AtticDetach(PVOID BindingContext)
{
    PATTIC_BINDING Binding = (PATTIC_BINDING)BindingContext;
    BOOLEAN Idle;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AtticLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    if (!Binding->Offered && AtticOfferedBindings != 0) {
        Binding->Uses++; // Dropped by the thread when the last offered binding is gone.
        InsertTailList(&AtticHeld, &Binding->Link);
    }
    Idle = Binding->Uses == 0;
    Binding->DetachPending = !Idle;
    KeReleaseSpinLock(&AtticLock, OldIrql);

    return Idle ? STATUS_SUCCESS : STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
AtticCleanup(PVOID BindingContext)
{
    BOOLEAN Offered = ((PATTIC_BINDING)BindingContext)->Offered;
    KIRQL OldIrql;

    ExFreePoolWithTag(BindingContext, ATTIC_POOL_TAG);

    // Nothing may be completed in here, so the thread does it.
    if (Offered) {
        KeAcquireSpinLock(&AtticLock, &OldIrql);
        AtticOfferedBindings--;
        KeReleaseSpinLock(&AtticLock, OldIrql);
        KeSetEvent(&AtticWake, IO_NO_INCREMENT, FALSE);
    }
}

static NTSTATUS
AtticStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, AtticThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&AtticThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// What the thread uses it may still have to complete, so it ends after the deregistrations.
static VOID
AtticJoinThread(VOID)
{
    InterlockedExchange(&AtticStopping, TRUE);
    KeSetEvent(&AtticWake, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(AtticThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(AtticThreadObject);
}

_Use_decl_annotations_
static VOID
AtticUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: this waits for a detach that ends only when our own client has been detached, which is begun below. A
    // partner that does the same waits for us.
    if (NmrDeregisterClient(AtticClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AtticClientHandle);
    }
    if (NmrDeregisterProvider(AtticProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(AtticProviderHandle);
    }
    AtticJoinThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AtticUnload;
    KeInitializeSpinLock(&AtticLock);
    KeInitializeEvent(&AtticWake, SynchronizationEvent, FALSE);
    InitializeListHead(&AtticBindings);
    InitializeListHead(&AtticHeld);

    Status = AtticStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&AtticProviderCharacteristics, NULL, &AtticProviderHandle);
    if (!NT_SUCCESS(Status)) {
        AtticJoinThread();
        return Status;
    }

    Status = NmrRegisterClient(&AtticClientCharacteristics, NULL, &AtticClientHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(AtticProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(AtticProviderHandle);
        }
        AtticJoinThread();
    }

    return Status;
}
