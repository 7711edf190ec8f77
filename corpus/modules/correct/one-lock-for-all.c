// nmrfuzz: module
// summary: Provider whose list and totals are shared by callbacks, timer DPC, work item and thread under one spin lock.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Everything that more than one context touches is guarded by WhinchatLock, and nothing else is. The work item is
// queued by the DPC under run-down protection, so that Unload can tell when the last one is through.

#include <ntddk.h>
#include <netioddk.h>

#define WHINCHAT_POOL_TAG 'nihW'
#define WHINCHAT_INTERVAL (-100 * 1000 * 10) // 100 ms in 100 ns units, relative
#define WHINCHAT_TICKS_PER_CLIENT 2

typedef struct _WHINCHAT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} WHINCHAT_PROVIDER_DISPATCH;

typedef struct _WHINCHAT_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG TicksLeft;
    ULONG TicksSeen;
    ULONG TicksReported;
    ULONG Visits;
} WHINCHAT_CLIENT, *PWHINCHAT_CLIENT;

typedef struct _WHINCHAT_TOTALS {
    ULONG Clients;
    ULONG64 Ticks;
    ULONG64 Visits;
    ULONG64 Reports;
} WHINCHAT_TOTALS;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WhinchatUnload;
static KSTART_ROUTINE WhinchatThread;
static KDEFERRED_ROUTINE WhinchatDpcRoutine;
static IO_WORKITEM_ROUTINE WhinchatWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN WhinchatAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN WhinchatDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN WhinchatCleanupBindingContext;

static const NPIID WhinchatNpiId = { 0xb1c7dc08, 0xabb5, 0x5220, { 0xb4, 0xd9, 0x46, 0xf2, 0xf7, 0xad, 0x72, 0x11 } };
static const NPI_MODULEID WhinchatModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x68aa28cc, 0x048d, 0x51d6, { 0xa9, 0x24, 0xd7, 0xfd, 0x0e, 0x4c, 0xba, 0xf2 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS WhinchatCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    WhinchatAttachClient,
    WhinchatDetachClient,
    WhinchatCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WhinchatNpiId, &WhinchatModuleId, 0, NULL }
};

static PDEVICE_OBJECT WhinchatDevice;
static PIO_WORKITEM WhinchatWorkItem;
static EX_RUNDOWN_REF WhinchatWorkRundown; // Held from the queueing of the work item to the end of its work.
static HANDLE WhinchatProviderHandle;
static PKTHREAD WhinchatThreadObject;
static KEVENT WhinchatStop;
static KSEMAPHORE WhinchatWork;
static KTIMER WhinchatTimer;
static KDPC WhinchatDpc;
static KSPIN_LOCK WhinchatLock;
_Guarded_by_(WhinchatLock) static LIST_ENTRY WhinchatClients;
_Guarded_by_(WhinchatLock) static WHINCHAT_TOTALS WhinchatTotals;
_Guarded_by_(WhinchatLock) static BOOLEAN WhinchatArmed;
_Guarded_by_(WhinchatLock) static BOOLEAN WhinchatQueued;
_Guarded_by_(WhinchatLock) static BOOLEAN WhinchatStopping;

static ULONG NTAPI
WhinchatVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const WHINCHAT_PROVIDER_DISPATCH WhinchatDispatch = { WhinchatVersion };

_Requires_lock_held_(WhinchatLock)
static VOID
WhinchatArm(VOID)
{
    LARGE_INTEGER DueTime;

    if (!WhinchatArmed && !WhinchatStopping) {
        WhinchatArmed = TRUE;
        DueTime.QuadPart = WHINCHAT_INTERVAL;
        KeSetTimer(&WhinchatTimer, DueTime, &WhinchatDpc);
    }
}

_Requires_lock_held_(WhinchatLock)
static VOID
WhinchatQueueReport(VOID)
{
    if (!WhinchatQueued && ExAcquireRundownProtection(&WhinchatWorkRundown)) {
        WhinchatQueued = TRUE;
        IoQueueWorkItem(WhinchatWorkItem, WhinchatWorker, DelayedWorkQueue, NULL);
    }
}

_Use_decl_annotations_
static VOID
WhinchatDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    BOOLEAN More = FALSE;
    PLIST_ENTRY Entry;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    KeAcquireSpinLockAtDpcLevel(&WhinchatLock);
    WhinchatArmed = FALSE;
    for (Entry = WhinchatClients.Flink; Entry != &WhinchatClients; Entry = Entry->Flink) {
        PWHINCHAT_CLIENT Client = CONTAINING_RECORD(Entry, WHINCHAT_CLIENT, Link);

        if (Client->TicksLeft != 0) {
            Client->TicksLeft--;
            Client->TicksSeen++;
            WhinchatTotals.Ticks++;
            More = More || Client->TicksLeft != 0;
        }
    }
    if (More) {
        WhinchatArm();
    }
    WhinchatQueueReport();
    KeReleaseSpinLockFromDpcLevel(&WhinchatLock);
}

_Use_decl_annotations_
static VOID
WhinchatWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);

    KeAcquireSpinLock(&WhinchatLock, &OldIrql);
    WhinchatQueued = FALSE;
    WhinchatTotals.Reports++;
    for (Entry = WhinchatClients.Flink; Entry != &WhinchatClients; Entry = Entry->Flink) {
        PWHINCHAT_CLIENT Client = CONTAINING_RECORD(Entry, WHINCHAT_CLIENT, Link);

        Client->TicksReported = Client->TicksSeen;
    }
    KeReleaseSpinLock(&WhinchatLock, OldIrql);

    ExReleaseRundownProtection(&WhinchatWorkRundown);
}

_Use_decl_annotations_
static VOID
WhinchatThread(PVOID StartContext)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&WhinchatWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&WhinchatStop) != 0) {
            break;
        }

        KeAcquireSpinLock(&WhinchatLock, &OldIrql);
        for (Entry = WhinchatClients.Flink; Entry != &WhinchatClients; Entry = Entry->Flink) {
            CONTAINING_RECORD(Entry, WHINCHAT_CLIENT, Link)->Visits++;
            WhinchatTotals.Visits++;
        }
        KeReleaseSpinLock(&WhinchatLock, OldIrql);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WhinchatAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PWHINCHAT_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PWHINCHAT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), WHINCHAT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    Client->TicksLeft = WHINCHAT_TICKS_PER_CLIENT;

    KeAcquireSpinLock(&WhinchatLock, &OldIrql);
    InsertTailList(&WhinchatClients, &Client->Link);
    WhinchatTotals.Clients++;
    WhinchatArm();
    KeReleaseSpinLock(&WhinchatLock, OldIrql);
    KeReleaseSemaphore(&WhinchatWork, IO_NO_INCREMENT, 1, FALSE);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &WhinchatDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WhinchatDetachClient(PVOID ProviderBindingContext)
{
    PWHINCHAT_CLIENT Client = (PWHINCHAT_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WhinchatLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    WhinchatTotals.Clients--;
    KeReleaseSpinLock(&WhinchatLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WhinchatCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, WHINCHAT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
WhinchatStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, WhinchatThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&WhinchatThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Ends everything that runs by itself, in the order in which one starts the other.
static VOID
WhinchatStopAll(VOID)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&WhinchatLock, &OldIrql);
    WhinchatStopping = TRUE;
    KeReleaseSpinLock(&WhinchatLock, OldIrql);

    KeCancelTimer(&WhinchatTimer);
    KeFlushQueuedDpcs();
    ExWaitForRundownProtectionRelease(&WhinchatWorkRundown);

    KeSetEvent(&WhinchatStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&WhinchatWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(WhinchatThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(WhinchatThreadObject);
}

_Use_decl_annotations_
static VOID
WhinchatUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(WhinchatProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(WhinchatProviderHandle);
    }

    WhinchatStopAll();

    // Nobody is left who could touch the totals, so they are read without the lock.
    NT_ASSERT(WhinchatTotals.Clients == 0);

    // The routine has begun if it was ever queued, and holds the device object.
    IoFreeWorkItem(WhinchatWorkItem);
    IoDeleteDevice(WhinchatDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WhinchatUnload;
    KeInitializeEvent(&WhinchatStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&WhinchatWork, 0, MAXLONG);
    KeInitializeTimer(&WhinchatTimer);
    KeInitializeDpc(&WhinchatDpc, WhinchatDpcRoutine, NULL);
    KeInitializeSpinLock(&WhinchatLock);
    InitializeListHead(&WhinchatClients);
    ExInitializeRundownProtection(&WhinchatWorkRundown);

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &WhinchatDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    WhinchatWorkItem = IoAllocateWorkItem(WhinchatDevice);
    if (WhinchatWorkItem == NULL) {
        IoDeleteDevice(WhinchatDevice);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = WhinchatStartThread();
    if (!NT_SUCCESS(Status)) {
        IoFreeWorkItem(WhinchatWorkItem);
        IoDeleteDevice(WhinchatDevice);
        return Status;
    }

    Status = NmrRegisterProvider(&WhinchatCharacteristics, NULL, &WhinchatProviderHandle);
    if (!NT_SUCCESS(Status)) {
        WhinchatStopAll();
        IoFreeWorkItem(WhinchatWorkItem);
        IoDeleteDevice(WhinchatDevice);
    }

    return Status;
}
