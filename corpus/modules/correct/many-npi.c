// nmrfuzz: module
// summary: Many NPIs, each with a registration, lock and bindings of its own; every third leaves and returns.
// expect: none
// needs: nothing
// interleaving: no
// variant: many-npi-1 -DNPI_COUNT=1
// provides: 1
// variant: many-npi-8 -DNPI_COUNT=8
// provides: 8
// variant: many-npi-64 -DNPI_COUNT=64
// provides: 64
// variant: many-npi-512 -DNPI_COUNT=512
// provides: 512
// variant: many-npi-client-8 -DNPI_COUNT=8 -DNPI_ROLES=NPI_CLIENTS
// consumes: 8
// variant: many-npi-client-64 -DNPI_COUNT=64 -DNPI_ROLES=NPI_CLIENTS
// consumes: 64
// variant: many-npi-client-512 -DNPI_COUNT=512 -DNPI_ROLES=NPI_CLIENTS
// consumes: 512
// variant: many-npi-both-8 -DNPI_COUNT=8 -DNPI_ROLES=NPI_BOTH
// provides: 4
// consumes: 4
// variant: many-npi-both-64 -DNPI_COUNT=64 -DNPI_ROLES=NPI_BOTH
// provides: 32
// consumes: 32
// variant: many-npi-both-512 -DNPI_COUNT=512 -DNPI_ROLES=NPI_BOTH
// provides: 256
// consumes: 256

// Slot i has NPI i, and nothing in common with the other slots. All deregistrations are begun before any is waited
// for, in three places: an entry that fails halfway, the departure of every third slot, and Unload.
//
// A binding's detach ends in one of two ways: by a work item, in slots of which bit 1 of the index is set, or by
// whoever drops the last reference. A patrol, a thread of the driver, takes references: it visits every binding once.

#include <ntddk.h>
#include <netioddk.h>

#define NPI_PROVIDERS 0
#define NPI_CLIENTS 1
#define NPI_BOTH 2

#ifndef NPI_COUNT
#define NPI_COUNT 8
#endif
#ifndef NPI_ROLES
#define NPI_ROLES NPI_PROVIDERS
#endif

#define RACK_POOL_TAG 'kcaR'
#define RACK_RETURNING_EVERY 3

typedef enum _RACK_ROLE { RackProvider, RackClient } RACK_ROLE;
typedef enum _RACK_ORDER { RackForward, RackBackward, RackClientsFirst, RackOrders } RACK_ORDER;

typedef struct _RACK_SLOT {
    ULONG Index;
    RACK_ROLE Role;
    NPIID NpiId;
    NPI_MODULEID ModuleId;
    NPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics; // One of the two is used.
    NPI_CLIENT_CHARACTERISTICS ClientCharacteristics;
    HANDLE Handle;
    BOOLEAN Registered;     // These three belong to DriverEntry, then to the return, then to Unload.
    BOOLEAN Deregistering;
    KSPIN_LOCK Lock;
    _Guarded_by_(Lock) LIST_ENTRY Bindings; // Those that are not detaching.
    _Guarded_by_(Lock) ULONG BindingCount;
} RACK_SLOT, *PRACK_SLOT;

typedef struct _RACK_BINDING {
    LIST_ENTRY Link;
    PRACK_SLOT Slot;
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
    PIO_WORKITEM DetachWorkItem; // NULL where references decide.
    LONG Visits;
    LONG References;        // Guarded by the slot's lock, as is the next.
    BOOLEAN DetachPending;
} RACK_BINDING, *PRACK_BINDING;

typedef struct _RACK_DISPATCH {
    ULONG(NTAPI *Index)(_In_ PVOID BindingContext);
} RACK_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RackUnload;
static IO_WORKITEM_ROUTINE RackDetachWorker;
static IO_WORKITEM_ROUTINE RackReturnWorker;
static KSTART_ROUTINE RackReturnThread;
static KSTART_ROUTINE RackPatrolThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN RackAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN RackAttachProvider;

// A context is all that detach and cleanup are given, and both roles have the same.
static NTSTATUS NTAPI RackDetach(_In_ PVOID BindingContext);
static VOID NTAPI RackCleanup(_In_ PVOID BindingContext);

static RACK_SLOT RackSlots[NPI_COUNT];
static PDEVICE_OBJECT RackDevice;
static PIO_WORKITEM RackReturnWorkItem;
static PKTHREAD RackPatrol;      // NULL if it could not be started; the same for the next.
static PKTHREAD RackReturner;
static KEVENT RackReturned;      // The slots that left are back, or will not come back.
static volatile LONG RackUnloading;
static volatile LONG RackAttached; // Bindings ever made.

static ULONG NTAPI
RackIndex(_In_ PVOID BindingContext)
{
    return ((PRACK_BINDING)BindingContext)->Slot->Index;
}

static const RACK_DISPATCH RackDispatch = { RackIndex };

// --- Bindings --------------------------------------------------------------------------------------------------------

static VOID
RackCompleteDetach(_In_ RACK_ROLE Role, _In_ HANDLE BindingHandle)
{
    if (Role == RackClient) {
        NmrClientDetachProviderComplete(BindingHandle);
    } else {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
RackDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PRACK_BINDING Binding = (PRACK_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    // The completion may run the cleanup callback, which frees the binding and this work item.
    RackCompleteDetach(Binding->Slot->Role, Binding->BindingHandle);
}

// Ends the detach of a binding to which there is no reference any more. The caller may not touch it afterwards.
static VOID
RackFinishDetach(_In_ PRACK_BINDING Binding)
{
    if (Binding->DetachWorkItem != NULL) {
        IoQueueWorkItem(Binding->DetachWorkItem, RackDetachWorker, DelayedWorkQueue, Binding);
    } else {
        RackCompleteDetach(Binding->Slot->Role, Binding->BindingHandle);
    }
}

static VOID
RackDropReference(_In_ PRACK_BINDING Binding)
{
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Binding->Slot->Lock, &OldIrql);
    Last = --Binding->References == 0 && Binding->DetachPending;
    KeReleaseSpinLock(&Binding->Slot->Lock, OldIrql);

    if (Last) {
        RackFinishDetach(Binding);
    }
}

// A reference to the binding that was visited longest ago; NULL if there is none.
_Must_inspect_result_
static PRACK_BINDING
RackReferenceNext(_In_ PRACK_SLOT Slot)
{
    PRACK_BINDING Binding = NULL;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Slot->Lock, &OldIrql);
    if (!IsListEmpty(&Slot->Bindings)) {
        Binding = CONTAINING_RECORD(RemoveHeadList(&Slot->Bindings), RACK_BINDING, Link);
        InsertTailList(&Slot->Bindings, &Binding->Link);
        Binding->References++;
    }
    KeReleaseSpinLock(&Slot->Lock, OldIrql);
    return Binding;
}

static ULONG
RackCountBindings(_In_ PRACK_SLOT Slot)
{
    ULONG Count;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Slot->Lock, &OldIrql);
    Count = Slot->BindingCount;
    KeReleaseSpinLock(&Slot->Lock, OldIrql);
    return Count;
}

_Must_inspect_result_
static PRACK_BINDING
RackNewBinding(_In_ PRACK_SLOT Slot, _In_ HANDLE BindingHandle)
{
    PRACK_BINDING Binding;

    Binding = (PRACK_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), RACK_POOL_TAG);
    if (Binding == NULL) {
        return NULL;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    if ((Slot->Index & 2) != 0) {
        Binding->DetachWorkItem = IoAllocateWorkItem(RackDevice);
        if (Binding->DetachWorkItem == NULL) {
            ExFreePoolWithTag(Binding, RACK_POOL_TAG);
            return NULL;
        }
    }

    Binding->Slot = Slot;
    Binding->BindingHandle = BindingHandle;
    return Binding;
}

static VOID
RackFreeBinding(_In_ PRACK_BINDING Binding)
{
    if (Binding->DetachWorkItem != NULL) {
        IoFreeWorkItem(Binding->DetachWorkItem);
    }
    ExFreePoolWithTag(Binding, RACK_POOL_TAG);
}

static VOID
RackPublish(_In_ PRACK_BINDING Binding)
{
    PRACK_SLOT Slot = Binding->Slot;
    KIRQL OldIrql;

    InterlockedIncrement(&RackAttached);
    KeAcquireSpinLock(&Slot->Lock, &OldIrql);
    InsertTailList(&Slot->Bindings, &Binding->Link);
    Slot->BindingCount++;
    KeReleaseSpinLock(&Slot->Lock, OldIrql);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RackAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PRACK_BINDING Binding;

    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = RackNewBinding((PRACK_SLOT)ProviderContext, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PeerContext = ClientBindingContext;
    Binding->PeerDispatch = ClientDispatch;
    RackPublish(Binding);

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &RackDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RackAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PRACK_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = RackNewBinding((PRACK_SLOT)ClientContext, NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &RackDispatch, &Binding->PeerContext, &Binding->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        RackFreeBinding(Binding);
        return Status;
    }

    RackPublish(Binding);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RackDetach(PVOID BindingContext)
{
    PRACK_BINDING Binding = (PRACK_BINDING)BindingContext;
    PRACK_SLOT Slot = Binding->Slot;
    BOOLEAN Idle;
    BOOLEAN ByWorkItem = Binding->DetachWorkItem != NULL;
    KIRQL OldIrql;

    KeAcquireSpinLock(&Slot->Lock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Slot->BindingCount--;
    Idle = Binding->References == 0;
    Binding->DetachPending = !Idle;
    KeReleaseSpinLock(&Slot->Lock, OldIrql);

    // If it is not idle, the last reference may have been dropped by now, and the binding be gone.
    if (Idle && ByWorkItem) {
        RackFinishDetach(Binding);
    }
    return Idle && !ByWorkItem ? STATUS_SUCCESS : STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
RackCleanup(PVOID BindingContext)
{
    RackFreeBinding((PRACK_BINDING)BindingContext);
}

// --- Registrations ---------------------------------------------------------------------------------------------------

_Must_inspect_result_
static NTSTATUS
RackRegister(_Inout_ PRACK_SLOT Slot)
{
    NTSTATUS Status;

    if (Slot->Role == RackClient) {
        Status = NmrRegisterClient(&Slot->ClientCharacteristics, Slot, &Slot->Handle);
    } else {
        Status = NmrRegisterProvider(&Slot->ProviderCharacteristics, Slot, &Slot->Handle);
    }
    Slot->Registered = NT_SUCCESS(Status);
    return Status;
}

static VOID
RackBeginDeregister(_Inout_ PRACK_SLOT Slot)
{
    NTSTATUS Status;

    if (!Slot->Registered) {
        return;
    }
    if (Slot->Role == RackClient) {
        Status = NmrDeregisterClient(Slot->Handle);
    } else {
        Status = NmrDeregisterProvider(Slot->Handle);
    }
    Slot->Registered = FALSE;
    Slot->Deregistering = Status == STATUS_PENDING;
}

static VOID
RackEndDeregister(_Inout_ PRACK_SLOT Slot)
{
    if (!Slot->Deregistering) {
        return;
    }
    if (Slot->Role == RackClient) {
        NmrWaitForClientDeregisterComplete(Slot->Handle);
    } else {
        NmrWaitForProviderDeregisterComplete(Slot->Handle);
    }
    Slot->Deregistering = FALSE;
}

typedef VOID RACK_STEP(_Inout_ PRACK_SLOT Slot);

// Takes a step with each slot.
static VOID
RackForEach(_In_ RACK_ORDER Order, _In_ RACK_STEP *Step)
{
    ULONG Index;

    switch (Order) {
    case RackBackward:
        for (Index = NPI_COUNT; Index > 0; Index--) {
            Step(&RackSlots[Index - 1]);
        }
        break;
    case RackClientsFirst:
        for (Index = 0; Index < NPI_COUNT; Index++) {
            if (RackSlots[Index].Role == RackClient) {
                Step(&RackSlots[Index]);
            }
        }
        for (Index = 0; Index < NPI_COUNT; Index++) {
            if (RackSlots[Index].Role == RackProvider) {
                Step(&RackSlots[Index]);
            }
        }
        break;
    default:
        for (Index = 0; Index < NPI_COUNT; Index++) {
            Step(&RackSlots[Index]);
        }
        break;
    }
}

// Deregisters whatever is registered. All are begun before the first wait: one may depend on another's detach.
static VOID
RackDeregisterAll(_In_ RACK_ORDER Order)
{
    RackForEach(Order, RackBeginDeregister);
    RackForEach(Order, RackEndDeregister);
}

// --- The return of every third slot ----------------------------------------------------------------------------------

static VOID
RackLeaveAndReturn(VOID)
{
    ULONG Index;

    for (Index = 0; Index < NPI_COUNT && !RackUnloading; Index += RACK_RETURNING_EVERY) {
        RackBeginDeregister(&RackSlots[Index]);
    }
    for (Index = 0; Index < NPI_COUNT; Index += RACK_RETURNING_EVERY) {
        RackEndDeregister(&RackSlots[Index]);
    }
    // A slot that cannot come back stays away.
    for (Index = 0; Index < NPI_COUNT && !RackUnloading; Index += RACK_RETURNING_EVERY) {
        if (!RackSlots[Index].Registered) {
            (VOID)RackRegister(&RackSlots[Index]);
        }
    }
    KeSetEvent(&RackReturned, IO_NO_INCREMENT, FALSE);
}

_Use_decl_annotations_
static VOID
RackReturnWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    RackLeaveAndReturn();
}

_Use_decl_annotations_
static VOID
RackReturnThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    RackLeaveAndReturn();
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static VOID
RackPatrolThread(PVOID StartContext)
{
    PRACK_BINDING Binding;
    ULONG Index;
    ULONG Left;

    UNREFERENCED_PARAMETER(StartContext);

    for (Index = 0; Index < NPI_COUNT; Index++) {
        for (Left = RackCountBindings(&RackSlots[Index]); Left > 0; Left--) {
            Binding = RackReferenceNext(&RackSlots[Index]);
            if (Binding == NULL) {
                break;
            }
            InterlockedIncrement(&Binding->Visits);
            RackDropReference(Binding);
        }
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

// --- Loading and unloading -------------------------------------------------------------------------------------------

// The thread's object, or NULL.
static PKTHREAD
RackStartThread(_In_ PKSTART_ROUTINE Routine)
{
    HANDLE ThreadHandle;
    PKTHREAD Thread;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Routine, NULL);
    if (!NT_SUCCESS(Status)) {
        return NULL;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&Thread, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Thread;
}

static VOID
RackJoinThread(_In_opt_ PKTHREAD Thread)
{
    if (Thread != NULL) {
        KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Thread);
    }
}

// Sends every third slot away and lets it return: on a thread or a work item, as the number of bindings has it.
static VOID
RackStartReturn(VOID)
{
    if ((RackAttached & 1) != 0) {
        RackReturner = RackStartThread(RackReturnThread);
    }
    if (RackReturner == NULL) {
        IoQueueWorkItem(RackReturnWorkItem, RackReturnWorker, DelayedWorkQueue, NULL);
    }
}

static VOID
RackFreeResources(VOID)
{
    IoFreeWorkItem(RackReturnWorkItem);
    IoDeleteDevice(RackDevice);
}

_Use_decl_annotations_
static VOID
RackUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    InterlockedExchange(&RackUnloading, TRUE);
    KeWaitForSingleObject(&RackReturned, Executive, KernelMode, FALSE, NULL);
    RackJoinThread(RackReturner);

    RackDeregisterAll((RACK_ORDER)((ULONG)RackAttached % RackOrders));

    // The patrol may hold the reference on which a detach depended; by now it holds none, but may not have returned.
    RackJoinThread(RackPatrol);
    RackFreeResources();
}

static const GUID RackNpiBase = { 0x00000000, 0x7c41, 0x5e0d, { 0x9b, 0x2a, 0x61, 0x3f, 0xd8, 0x04, 0xa7, 0x15 } };
static const GUID RackModuleBase = { 0x00000000, 0x4d97, 0x58b2, { 0x86, 0xe1, 0x0c, 0xb9, 0x52, 0x7e, 0x33, 0xf8 } };

static RACK_ROLE
RackRoleOf(_In_ ULONG Index)
{
#if NPI_ROLES == NPI_BOTH
    return (Index & 1) != 0 ? RackClient : RackProvider;
#else
    UNREFERENCED_PARAMETER(Index);
    return NPI_ROLES == NPI_CLIENTS ? RackClient : RackProvider;
#endif
}

static VOID
RackInitializeInstance(_In_ PRACK_SLOT Slot, _Out_ NPI_REGISTRATION_INSTANCE *Instance)
{
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &Slot->NpiId;
    Instance->ModuleId = &Slot->ModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;
}

static VOID
RackInitializeSlot(_Out_ PRACK_SLOT Slot, _In_ ULONG Index)
{
    NPI_PROVIDER_CHARACTERISTICS *Provider = &Slot->ProviderCharacteristics;
    NPI_CLIENT_CHARACTERISTICS *Client = &Slot->ClientCharacteristics;

    Slot->Index = Index;
    Slot->Role = RackRoleOf(Index);
    KeInitializeSpinLock(&Slot->Lock);
    InitializeListHead(&Slot->Bindings);

    // 0x5a01.... is no other driver's.
    Slot->NpiId = RackNpiBase;
    Slot->NpiId.Data1 = 0x5a010000 + Index;
    Slot->ModuleId.Length = sizeof(NPI_MODULEID);
    Slot->ModuleId.Type = MIT_GUID;
    Slot->ModuleId.Guid = RackModuleBase;
    Slot->ModuleId.Guid.Data1 = (NPI_ROLES << 24) + Index;

    if (Slot->Role == RackClient) {
        Client->Version = 0;
        Client->Length = sizeof(*Client);
        Client->ClientAttachProvider = RackAttachProvider;
        Client->ClientDetachProvider = RackDetach;
        Client->ClientCleanupBindingContext = RackCleanup;
        RackInitializeInstance(Slot, &Client->ClientRegistrationInstance);
    } else {
        Provider->Version = 0;
        Provider->Length = sizeof(*Provider);
        Provider->ProviderAttachClient = RackAttachClient;
        Provider->ProviderDetachClient = RackDetach;
        Provider->ProviderCleanupBindingContext = RackCleanup;
        RackInitializeInstance(Slot, &Provider->ProviderRegistrationInstance);
    }
}

_Must_inspect_result_
static NTSTATUS
RackInitialize(_In_ PDRIVER_OBJECT DriverObject)
{
    ULONG Index;
    NTSTATUS Status;

    KeInitializeEvent(&RackReturned, NotificationEvent, FALSE);
    for (Index = 0; Index < NPI_COUNT; Index++) {
        RackInitializeSlot(&RackSlots[Index], Index);
    }

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &RackDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    RackReturnWorkItem = IoAllocateWorkItem(RackDevice);
    if (RackReturnWorkItem == NULL) {
        IoDeleteDevice(RackDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Index;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RackUnload;

    Status = RackInitialize(DriverObject);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    for (Index = 0; Index < NPI_COUNT; Index++) {
        Status = RackRegister(&RackSlots[Index]);
        if (!NT_SUCCESS(Status)) {
            // Only the slots before this one are registered.
            RackDeregisterAll(RackBackward);
            RackFreeResources();
            return Status;
        }
    }

    RackPatrol = RackStartThread(RackPatrolThread); // Without it nobody visits, which is no reason to fail.
    RackStartReturn();
    return STATUS_SUCCESS;
}
