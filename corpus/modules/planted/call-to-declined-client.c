// nmrfuzz: module
// summary: Provider that notes a client before it looks whether it may serve it, and notifies it although it has declined it.
// provides: 1
// consumes: 0
// expect: use-after-detach
// rule: R55
// needs: a client while another is attached
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

// Each client has a slot of a table. One spin lock guards the slots; a call is counted in its slot before it is made, and
// the end of the last one completes a pending detach.

#include <ntddk.h>
#include <netioddk.h>

#define HERALD_SLOTS 4

typedef struct _HERALD_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} HERALD_CLIENT_DISPATCH, *PHERALD_CLIENT_DISPATCH;

typedef struct _HERALD_PROVIDER_DISPATCH {
    ULONG(NTAPI *CountClients)(_In_ PVOID ProviderBindingContext);
} HERALD_PROVIDER_DISPATCH;

typedef struct _HERALD_SLOT {
    BOOLEAN Taken;
    BOOLEAN NotificationOwed;
    BOOLEAN Detaching;
    ULONG CallsInProgress;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} HERALD_SLOT, *PHERALD_SLOT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HeraldUnload;
static KSTART_ROUTINE HeraldThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN HeraldAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN HeraldDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN HeraldCleanupBindingContext;

static const NPIID HeraldNpiId = { 0x5077e88d, 0x0378, 0x4efc, { 0xac, 0x73, 0x59, 0x8c, 0x34, 0x8f, 0x98, 0xfd } };
static const NPI_MODULEID HeraldModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8954ef26, 0xa853, 0x483f, { 0xb6, 0x0c, 0x46, 0x44, 0x65, 0x39, 0xbb, 0x04 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS HeraldCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    HeraldAttachClient,
    HeraldDetachClient,
    HeraldCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HeraldNpiId, &HeraldModuleId, 0, NULL }
};

static HANDLE HeraldProviderHandle;
static PKTHREAD HeraldNotifier;
static KEVENT HeraldStop;
static KSEMAPHORE HeraldWork; // One count for each notification owed, and one to stop.
static KSPIN_LOCK HeraldLock;
_Guarded_by_(HeraldLock) static HERALD_SLOT HeraldSlots[HERALD_SLOTS];
_Guarded_by_(HeraldLock) static ULONG HeraldClients; // Accepted ones: one at a time is served.

static ULONG NTAPI
HeraldCountClients(_In_ PVOID ProviderBindingContext)
{
    ULONG Clients;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderBindingContext);

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    Clients = HeraldClients;
    KeReleaseSpinLock(&HeraldLock, OldIrql);
    return Clients;
}

static const HERALD_PROVIDER_DISPATCH HeraldDispatch = { HeraldCountClients };

// Takes one notification that is owed, and counts its call; NULL if none is.
_Must_inspect_result_
static PHERALD_SLOT
HeraldBeginCall(VOID)
{
    PHERALD_SLOT Found = NULL;
    ULONG Index;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    for (Index = 0; Index < HERALD_SLOTS; Index++) {
        if (HeraldSlots[Index].NotificationOwed) {
            Found = &HeraldSlots[Index];
            Found->NotificationOwed = FALSE;
            Found->CallsInProgress++;
            break;
        }
    }
    KeReleaseSpinLock(&HeraldLock, OldIrql);
    return Found;
}

static VOID
HeraldEndCall(_In_ PHERALD_SLOT Slot)
{
    HANDLE BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    BindingHandle = Slot->BindingHandle;
    Slot->CallsInProgress--;
    Last = Slot->Detaching && Slot->CallsInProgress == 0;
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    if (Last) {
        NmrProviderDetachClientComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
HeraldThread(PVOID StartContext)
{
    PHERALD_SLOT Slot;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&HeraldWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&HeraldStop) != 0) {
            break;
        }

        Slot = HeraldBeginCall();
        if (Slot != NULL) {
            ((const HERALD_CLIENT_DISPATCH *)Slot->ClientDispatch)->Notify(Slot->ClientBindingContext, 0);
            HeraldEndCall(Slot);
        }
    }
}

// Notes a client in a free slot; NULL if there is none. Clients without functions are owed no notification.
_Must_inspect_result_
static PHERALD_SLOT
HeraldTakeSlot(_In_ HANDLE BindingHandle, _In_ PVOID ClientBindingContext, _In_opt_ CONST VOID *ClientDispatch)
{
    PHERALD_SLOT Slot = NULL;
    ULONG Index;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    for (Index = 0; Index < HERALD_SLOTS && Slot == NULL; Index++) {
        if (!HeraldSlots[Index].Taken) {
            Slot = &HeraldSlots[Index];
            Slot->Taken = TRUE;
            Slot->NotificationOwed = ClientDispatch != NULL;
            Slot->BindingHandle = BindingHandle;
            Slot->ClientBindingContext = ClientBindingContext;
            Slot->ClientDispatch = ClientDispatch;
        }
    }
    KeReleaseSpinLock(&HeraldLock, OldIrql);
    return Slot;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeraldAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PHERALD_SLOT Slot;
    BOOLEAN Accepts;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Slot = HeraldTakeSlot(NmrBindingHandle, ClientBindingContext, ClientDispatch);
    if (Slot == NULL) {
        return STATUS_NOINTERFACE;
    }

    KeReleaseSemaphore(&HeraldWork, IO_NO_INCREMENT, 1, FALSE);

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    Accepts = HeraldClients == 0;
    if (Accepts) {
        HeraldClients++;
    }
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    if (!Accepts) {
        // Defect: the slot still holds the client, and the thread calls it.
        return STATUS_NOINTERFACE;
    }

    *ProviderBindingContext = Slot;
    *ProviderDispatch = &HeraldDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HeraldDetachClient(PVOID ProviderBindingContext)
{
    PHERALD_SLOT Slot = (PHERALD_SLOT)ProviderBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    Slot->NotificationOwed = FALSE;
    Slot->Detaching = TRUE;
    Busy = Slot->CallsInProgress != 0;
    KeReleaseSpinLock(&HeraldLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HeraldCleanupBindingContext(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&HeraldLock, &OldIrql);
    RtlZeroMemory(ProviderBindingContext, sizeof(HERALD_SLOT));
    HeraldClients--;
    KeReleaseSpinLock(&HeraldLock, OldIrql);
}

static VOID
HeraldStopNotifier(VOID)
{
    KeSetEvent(&HeraldStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&HeraldWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(HeraldNotifier, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(HeraldNotifier);
}

_Use_decl_annotations_
static VOID
HeraldUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(HeraldProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(HeraldProviderHandle);
    }

    HeraldStopNotifier();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HeraldUnload;

    KeInitializeEvent(&HeraldStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&HeraldWork, 0, MAXLONG);
    KeInitializeSpinLock(&HeraldLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, HeraldThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&HeraldNotifier, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);

    Status = NmrRegisterProvider(&HeraldCharacteristics, NULL, &HeraldProviderHandle);
    if (!NT_SUCCESS(Status)) {
        HeraldStopNotifier();
    }

    return Status;
}
