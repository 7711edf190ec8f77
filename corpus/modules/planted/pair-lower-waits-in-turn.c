// nmrfuzz: module
// summary: Partner of pair-upper that waits for its client before it deregisters its provider, on which the former depends.
// provides: 1
// consumes: 1
// expect: deadlock
// rule: R107
// needs: bindings in both directions, and a partner that does not leave first
// interleaving: no
// hardness: 1 schedules; 5 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CELLAR_ROUNDS 6
#define CELLAR_POOL_TAG 'lleC'

typedef struct _CELLAR_BINDING {
    LIST_ENTRY Link;
    BOOLEAN Offered; // We provide; else we consume.
    HANDLE BindingHandle;
    PVOID PartnerContext;
    CONST VOID *PartnerDispatch;
    LONG Uses; // Guarded by CellarLock, as is the next.
    BOOLEAN DetachPending;
} CELLAR_BINDING, *PCELLAR_BINDING;

typedef struct _CELLAR_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID BindingContext);
} CELLAR_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CellarUnload;
static KSTART_ROUTINE CellarThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN CellarAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN CellarAttachProvider;
static NTSTATUS NTAPI CellarDetach(_In_ PVOID BindingContext);
static VOID NTAPI CellarCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID CellarModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x47142f40, 0x0797, 0x5c03, { 0xb1, 0x0d, 0x77, 0x5d, 0x55, 0x55, 0x08, 0x99 } } }
};
static const NPIID CellarOfferedNpiId =
    { 0x3002e387, 0x70bc, 0x5f19, { 0xb5, 0x54, 0x6e, 0xb5, 0x18, 0x7a, 0x96, 0x5c } };
static const NPIID CellarUsedNpiId =
    { 0xf30a2994, 0xc81e, 0x568a, { 0xa9, 0x27, 0xac, 0x4f, 0x70, 0x12, 0x1e, 0x12 } };

static const NPI_PROVIDER_CHARACTERISTICS CellarProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CellarAttachClient,
    CellarDetach,
    CellarCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CellarOfferedNpiId, &CellarModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS CellarClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CellarAttachProvider,
    CellarDetach,
    CellarCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CellarUsedNpiId, &CellarModuleId, 0, NULL }
};

static HANDLE CellarProviderHandle;
static HANDLE CellarClientHandle;
static PKTHREAD CellarThreadObject;
static KSPIN_LOCK CellarLock;
_Guarded_by_(CellarLock) static LIST_ENTRY CellarBindings; // Those that are not detaching.
_Guarded_by_(CellarLock) static LIST_ENTRY CellarHeld;     // Bindings of ours to a provider, until nobody uses us.
_Guarded_by_(CellarLock) static ULONG CellarOfferedBindings;
static KEVENT CellarWake;
static volatile LONG CellarStopping;

static ULONG NTAPI
CellarVersion(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return 1;
}

static const CELLAR_DISPATCH CellarDispatch = { CellarVersion };

static VOID
CellarComplete(_In_ PCELLAR_BINDING Binding)
{
    if (Binding->Offered) {
        NmrProviderDetachClientComplete(Binding->BindingHandle);
    } else {
        NmrClientDetachProviderComplete(Binding->BindingHandle);
    }
}

// Drops what the offered bindings held, once there are none.
static VOID
CellarReleaseHeld(VOID)
{
    PCELLAR_BINDING Binding;
    BOOLEAN Last;
    KIRQL OldIrql;

    for (;;) {
        Binding = NULL;
        Last = FALSE;
        KeAcquireSpinLock(&CellarLock, &OldIrql);
        if (CellarOfferedBindings == 0 && !IsListEmpty(&CellarHeld)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&CellarHeld), CELLAR_BINDING, Link);
            Last = --Binding->Uses == 0;
        }
        KeReleaseSpinLock(&CellarLock, OldIrql);
        if (Binding == NULL) {
            return;
        }
        if (Last) {
            CellarComplete(Binding);
        }
    }
}

// Uses the bindings in turn, a few times; a use counts as a call to the partner.
_Use_decl_annotations_
static VOID
CellarThread(PVOID StartContext)
{
    PCELLAR_BINDING Binding;
    BOOLEAN Last;
    ULONG Round;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(StartContext);

    for (Round = 0; Round < CELLAR_ROUNDS; Round++) {
        Binding = NULL;
        KeAcquireSpinLock(&CellarLock, &OldIrql);
        if (!IsListEmpty(&CellarBindings)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&CellarBindings), CELLAR_BINDING, Link);
            InsertTailList(&CellarBindings, &Binding->Link);
            Binding->Uses++;
        }
        KeReleaseSpinLock(&CellarLock, OldIrql);
        if (Binding == NULL) {
            continue;
        }

        KeAcquireSpinLock(&CellarLock, &OldIrql);
        Last = --Binding->Uses == 0 && Binding->DetachPending;
        KeReleaseSpinLock(&CellarLock, OldIrql);
        if (Last) {
            CellarComplete(Binding);
        }
    }
    do {
        KeWaitForSingleObject(&CellarWake, Executive, KernelMode, FALSE, NULL);
        CellarReleaseHeld();
    } while (!CellarStopping);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Must_inspect_result_
static PCELLAR_BINDING
CellarNewBinding(_In_ BOOLEAN Offered, _In_ HANDLE BindingHandle)
{
    PCELLAR_BINDING Binding;

    Binding = (PCELLAR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), CELLAR_POOL_TAG);
    if (Binding != NULL) {
        Binding->Offered = Offered;
        Binding->BindingHandle = BindingHandle;
    }
    return Binding;
}

static VOID
CellarPublish(_In_ PCELLAR_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CellarLock, &OldIrql);
    InsertTailList(&CellarBindings, &Binding->Link);
    CellarOfferedBindings += Binding->Offered;
    KeReleaseSpinLock(&CellarLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CellarAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCELLAR_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = CellarNewBinding(TRUE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PartnerContext = ClientBindingContext;
    Binding->PartnerDispatch = ClientDispatch;
    CellarPublish(Binding);

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &CellarDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CellarAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCELLAR_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = CellarNewBinding(FALSE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &CellarDispatch, &Binding->PartnerContext, &Binding->PartnerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, CELLAR_POOL_TAG);
        return Status;
    }

    CellarPublish(Binding);
    return STATUS_SUCCESS;
}

// A client's detach is over when the partner cannot call us any more: what we do for it may lead back to it.
_Use_decl_annotations_
static NTSTATUS NTAPI
CellarDetach(PVOID BindingContext)
{
    PCELLAR_BINDING Binding = (PCELLAR_BINDING)BindingContext;
    BOOLEAN Idle;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CellarLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    if (!Binding->Offered && CellarOfferedBindings != 0) {
        Binding->Uses++; // Dropped by the thread when the last offered binding is gone.
        InsertTailList(&CellarHeld, &Binding->Link);
    }
    Idle = Binding->Uses == 0;
    Binding->DetachPending = !Idle;
    KeReleaseSpinLock(&CellarLock, OldIrql);

    return Idle ? STATUS_SUCCESS : STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
CellarCleanup(PVOID BindingContext)
{
    BOOLEAN Offered = ((PCELLAR_BINDING)BindingContext)->Offered;
    KIRQL OldIrql;

    ExFreePoolWithTag(BindingContext, CELLAR_POOL_TAG);

    // Nothing may be completed in here, so the thread does it.
    if (Offered) {
        KeAcquireSpinLock(&CellarLock, &OldIrql);
        CellarOfferedBindings--;
        KeReleaseSpinLock(&CellarLock, OldIrql);
        KeSetEvent(&CellarWake, IO_NO_INCREMENT, FALSE);
    }
}

static NTSTATUS
CellarStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CellarThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CellarThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// What the thread uses it may still have to complete, so it ends after the deregistrations.
static VOID
CellarJoinThread(VOID)
{
    InterlockedExchange(&CellarStopping, TRUE);
    KeSetEvent(&CellarWake, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(CellarThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(CellarThreadObject);
}

_Use_decl_annotations_
static VOID
CellarUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: this waits for a detach that ends only when our own client has been detached, which is begun below. A
    // partner that does the same waits for us.
    if (NmrDeregisterClient(CellarClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CellarClientHandle);
    }
    if (NmrDeregisterProvider(CellarProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CellarProviderHandle);
    }
    CellarJoinThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CellarUnload;
    KeInitializeSpinLock(&CellarLock);
    KeInitializeEvent(&CellarWake, SynchronizationEvent, FALSE);
    InitializeListHead(&CellarBindings);
    InitializeListHead(&CellarHeld);

    Status = CellarStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&CellarProviderCharacteristics, NULL, &CellarProviderHandle);
    if (!NT_SUCCESS(Status)) {
        CellarJoinThread();
        return Status;
    }

    Status = NmrRegisterClient(&CellarClientCharacteristics, NULL, &CellarClientHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(CellarProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(CellarProviderHandle);
        }
        CellarJoinThread();
    }

    return Status;
}
