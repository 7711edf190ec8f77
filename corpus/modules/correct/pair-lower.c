// nmrfuzz: module
// summary: Partner of pair-upper: each provides what the other consumes, and either may unload first, or both at once.
// provides: 1
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Loaded together the two are bound to each other twice, once in each direction. So neither direction's detach waits
// for the other one, and Unload begins both before it waits. A thread uses the bindings in turn; a detach that meets a
// use pends until it has ended.

#include <ntddk.h>
#include <netioddk.h>

#define LOWER_ROUNDS 6
#define LOWER_POOL_TAG 'rwoL'

typedef struct _LOWER_BINDING {
    LIST_ENTRY Link;
    BOOLEAN Offered; // We provide; else we consume.
    HANDLE BindingHandle;
    PVOID PartnerContext;
    CONST VOID *PartnerDispatch;
    LONG Uses; // Guarded by LowerLock, as is the next.
    BOOLEAN DetachPending;
} LOWER_BINDING, *PLOWER_BINDING;

typedef struct _LOWER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID BindingContext);
} LOWER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LowerUnload;
static KSTART_ROUTINE LowerThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN LowerAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN LowerAttachProvider;
static NTSTATUS NTAPI LowerDetach(_In_ PVOID BindingContext);
static VOID NTAPI LowerCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID LowerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x07a7c7d7, 0xe499, 0x5566, { 0x94, 0x8f, 0xc9, 0x7c, 0x74, 0xc0, 0x95, 0xa3 } } }
};
static const NPIID LowerOfferedNpiId =
    { 0x3002e387, 0x70bc, 0x5f19, { 0xb5, 0x54, 0x6e, 0xb5, 0x18, 0x7a, 0x96, 0x5c } };
static const NPIID LowerUsedNpiId =
    { 0xf30a2994, 0xc81e, 0x568a, { 0xa9, 0x27, 0xac, 0x4f, 0x70, 0x12, 0x1e, 0x12 } };

static const NPI_PROVIDER_CHARACTERISTICS LowerProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LowerAttachClient,
    LowerDetach,
    LowerCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LowerOfferedNpiId, &LowerModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS LowerClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LowerAttachProvider,
    LowerDetach,
    LowerCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LowerUsedNpiId, &LowerModuleId, 0, NULL }
};

static HANDLE LowerProviderHandle;
static HANDLE LowerClientHandle;
static PKTHREAD LowerThreadObject;
static KSPIN_LOCK LowerLock;
_Guarded_by_(LowerLock) static LIST_ENTRY LowerBindings; // Those that are not detaching.

static ULONG NTAPI
LowerVersion(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return 1;
}

static const LOWER_DISPATCH LowerDispatch = { LowerVersion };

static VOID
LowerComplete(_In_ PLOWER_BINDING Binding)
{
    if (Binding->Offered) {
        NmrProviderDetachClientComplete(Binding->BindingHandle);
    } else {
        NmrClientDetachProviderComplete(Binding->BindingHandle);
    }
}

// Uses the bindings in turn, a few times; a use counts as a call to the partner.
_Use_decl_annotations_
static VOID
LowerThread(PVOID StartContext)
{
    PLOWER_BINDING Binding;
    BOOLEAN Last;
    ULONG Round;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(StartContext);

    for (Round = 0; Round < LOWER_ROUNDS; Round++) {
        Binding = NULL;
        KeAcquireSpinLock(&LowerLock, &OldIrql);
        if (!IsListEmpty(&LowerBindings)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&LowerBindings), LOWER_BINDING, Link);
            InsertTailList(&LowerBindings, &Binding->Link);
            Binding->Uses++;
        }
        KeReleaseSpinLock(&LowerLock, OldIrql);
        if (Binding == NULL) {
            continue;
        }

        KeAcquireSpinLock(&LowerLock, &OldIrql);
        Last = --Binding->Uses == 0 && Binding->DetachPending;
        KeReleaseSpinLock(&LowerLock, OldIrql);
        if (Last) {
            LowerComplete(Binding);
        }
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Must_inspect_result_
static PLOWER_BINDING
LowerNewBinding(_In_ BOOLEAN Offered, _In_ HANDLE BindingHandle)
{
    PLOWER_BINDING Binding;

    Binding = (PLOWER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LOWER_POOL_TAG);
    if (Binding != NULL) {
        Binding->Offered = Offered;
        Binding->BindingHandle = BindingHandle;
    }
    return Binding;
}

static VOID
LowerPublish(_In_ PLOWER_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&LowerLock, &OldIrql);
    InsertTailList(&LowerBindings, &Binding->Link);
    KeReleaseSpinLock(&LowerLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LowerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLOWER_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = LowerNewBinding(TRUE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PartnerContext = ClientBindingContext;
    Binding->PartnerDispatch = ClientDispatch;
    LowerPublish(Binding);

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &LowerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LowerAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLOWER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = LowerNewBinding(FALSE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &LowerDispatch, &Binding->PartnerContext, &Binding->PartnerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, LOWER_POOL_TAG);
        return Status;
    }

    LowerPublish(Binding);
    return STATUS_SUCCESS;
}

// Neither direction asks about the other.
_Use_decl_annotations_
static NTSTATUS NTAPI
LowerDetach(PVOID BindingContext)
{
    PLOWER_BINDING Binding = (PLOWER_BINDING)BindingContext;
    BOOLEAN Idle;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LowerLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Idle = Binding->Uses == 0;
    Binding->DetachPending = !Idle;
    KeReleaseSpinLock(&LowerLock, OldIrql);

    return Idle ? STATUS_SUCCESS : STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
LowerCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, LOWER_POOL_TAG);
}

static NTSTATUS
LowerStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, LowerThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&LowerThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// What the thread uses it may still have to complete, so it ends after the deregistrations.
static VOID
LowerJoinThread(VOID)
{
    KeWaitForSingleObject(LowerThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(LowerThreadObject);
}

_Use_decl_annotations_
static VOID
LowerUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(LowerProviderHandle);
    ClientStatus = NmrDeregisterClient(LowerClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LowerProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LowerClientHandle);
    }
    LowerJoinThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LowerUnload;
    KeInitializeSpinLock(&LowerLock);
    InitializeListHead(&LowerBindings);

    Status = LowerStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&LowerProviderCharacteristics, NULL, &LowerProviderHandle);
    if (!NT_SUCCESS(Status)) {
        LowerJoinThread();
        return Status;
    }

    Status = NmrRegisterClient(&LowerClientCharacteristics, NULL, &LowerClientHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(LowerProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(LowerProviderHandle);
        }
        LowerJoinThread();
    }

    return Status;
}
