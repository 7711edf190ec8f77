// nmrfuzz: module
// summary: Partner of pair-lower: each provides what the other consumes, and either may unload first, or both at once.
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

#define UPPER_ROUNDS 6
#define UPPER_POOL_TAG 'rppU'

typedef struct _UPPER_BINDING {
    LIST_ENTRY Link;
    BOOLEAN Offered; // We provide; else we consume.
    HANDLE BindingHandle;
    PVOID PartnerContext;
    CONST VOID *PartnerDispatch;
    LONG Uses; // Guarded by UpperLock, as is the next.
    BOOLEAN DetachPending;
} UPPER_BINDING, *PUPPER_BINDING;

typedef struct _UPPER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID BindingContext);
} UPPER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD UpperUnload;
static KSTART_ROUTINE UpperThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN UpperAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN UpperAttachProvider;
static NTSTATUS NTAPI UpperDetach(_In_ PVOID BindingContext);
static VOID NTAPI UpperCleanup(_In_ PVOID BindingContext);

static const NPI_MODULEID UpperModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x96f7fd5a, 0x4e3d, 0x577a, { 0x97, 0x5c, 0x2d, 0x62, 0x29, 0xef, 0xf4, 0x84 } } }
};
static const NPIID UpperOfferedNpiId =
    { 0xf30a2994, 0xc81e, 0x568a, { 0xa9, 0x27, 0xac, 0x4f, 0x70, 0x12, 0x1e, 0x12 } };
static const NPIID UpperUsedNpiId =
    { 0x3002e387, 0x70bc, 0x5f19, { 0xb5, 0x54, 0x6e, 0xb5, 0x18, 0x7a, 0x96, 0x5c } };

static const NPI_PROVIDER_CHARACTERISTICS UpperProviderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    UpperAttachClient,
    UpperDetach,
    UpperCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &UpperOfferedNpiId, &UpperModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS UpperClientCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    UpperAttachProvider,
    UpperDetach,
    UpperCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &UpperUsedNpiId, &UpperModuleId, 0, NULL }
};

static HANDLE UpperProviderHandle;
static HANDLE UpperClientHandle;
static PKTHREAD UpperThreadObject;
static KSPIN_LOCK UpperLock;
_Guarded_by_(UpperLock) static LIST_ENTRY UpperBindings; // Those that are not detaching.

static ULONG NTAPI
UpperVersion(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return 1;
}

static const UPPER_DISPATCH UpperDispatch = { UpperVersion };

static VOID
UpperComplete(_In_ PUPPER_BINDING Binding)
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
UpperThread(PVOID StartContext)
{
    PUPPER_BINDING Binding;
    BOOLEAN Last;
    ULONG Round;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(StartContext);

    for (Round = 0; Round < UPPER_ROUNDS; Round++) {
        Binding = NULL;
        KeAcquireSpinLock(&UpperLock, &OldIrql);
        if (!IsListEmpty(&UpperBindings)) {
            Binding = CONTAINING_RECORD(RemoveHeadList(&UpperBindings), UPPER_BINDING, Link);
            InsertTailList(&UpperBindings, &Binding->Link);
            Binding->Uses++;
        }
        KeReleaseSpinLock(&UpperLock, OldIrql);
        if (Binding == NULL) {
            continue;
        }

        KeAcquireSpinLock(&UpperLock, &OldIrql);
        Last = --Binding->Uses == 0 && Binding->DetachPending;
        KeReleaseSpinLock(&UpperLock, OldIrql);
        if (Last) {
            UpperComplete(Binding);
        }
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Must_inspect_result_
static PUPPER_BINDING
UpperNewBinding(_In_ BOOLEAN Offered, _In_ HANDLE BindingHandle)
{
    PUPPER_BINDING Binding;

    Binding = (PUPPER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), UPPER_POOL_TAG);
    if (Binding != NULL) {
        Binding->Offered = Offered;
        Binding->BindingHandle = BindingHandle;
    }
    return Binding;
}

static VOID
UpperPublish(_In_ PUPPER_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&UpperLock, &OldIrql);
    InsertTailList(&UpperBindings, &Binding->Link);
    KeReleaseSpinLock(&UpperLock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
UpperAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PUPPER_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = UpperNewBinding(TRUE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PartnerContext = ClientBindingContext;
    Binding->PartnerDispatch = ClientDispatch;
    UpperPublish(Binding);

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &UpperDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
UpperAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PUPPER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = UpperNewBinding(FALSE, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &UpperDispatch, &Binding->PartnerContext, &Binding->PartnerDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, UPPER_POOL_TAG);
        return Status;
    }

    UpperPublish(Binding);
    return STATUS_SUCCESS;
}

// Neither direction asks about the other.
_Use_decl_annotations_
static NTSTATUS NTAPI
UpperDetach(PVOID BindingContext)
{
    PUPPER_BINDING Binding = (PUPPER_BINDING)BindingContext;
    BOOLEAN Idle;
    KIRQL OldIrql;

    KeAcquireSpinLock(&UpperLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Idle = Binding->Uses == 0;
    Binding->DetachPending = !Idle;
    KeReleaseSpinLock(&UpperLock, OldIrql);

    return Idle ? STATUS_SUCCESS : STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
UpperCleanup(PVOID BindingContext)
{
    ExFreePoolWithTag(BindingContext, UPPER_POOL_TAG);
}

static NTSTATUS
UpperStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, UpperThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&UpperThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// What the thread uses it may still have to complete, so it ends after the deregistrations.
static VOID
UpperJoinThread(VOID)
{
    KeWaitForSingleObject(UpperThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(UpperThreadObject);
}

_Use_decl_annotations_
static VOID
UpperUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS ProviderStatus;
    NTSTATUS ClientStatus;

    UNREFERENCED_PARAMETER(DriverObject);

    ProviderStatus = NmrDeregisterProvider(UpperProviderHandle);
    ClientStatus = NmrDeregisterClient(UpperClientHandle);

    if (ProviderStatus == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(UpperProviderHandle);
    }
    if (ClientStatus == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(UpperClientHandle);
    }
    UpperJoinThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = UpperUnload;
    KeInitializeSpinLock(&UpperLock);
    InitializeListHead(&UpperBindings);

    Status = UpperStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&UpperProviderCharacteristics, NULL, &UpperProviderHandle);
    if (!NT_SUCCESS(Status)) {
        UpperJoinThread();
        return Status;
    }

    Status = NmrRegisterClient(&UpperClientCharacteristics, NULL, &UpperClientHandle);
    if (!NT_SUCCESS(Status)) {
        // A driver whose entry fails is not unloaded but dropped, so the first registration ends here.
        if (NmrDeregisterProvider(UpperProviderHandle) == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(UpperProviderHandle);
        }
        UpperJoinThread();
    }

    return Status;
}
