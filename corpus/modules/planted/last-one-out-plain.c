// nmrfuzz: module
// summary: Client whose threads count themselves out in a plain counter; the last one tells Unload.
// provides: 0
// consumes: 1
// expect: deadlock, data-race
// rule: none
// needs: two threads end at the same moment
// interleaving: yes
// hardness: 3 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SANDPIPER_POOL_TAG 'dnaS'
#define SANDPIPER_THREADS 2

typedef struct _SANDPIPER_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ReportsDue;
} SANDPIPER_BINDING, *PSANDPIPER_BINDING;

typedef struct _SANDPIPER_SLOT {
    PKTHREAD Thread;
    ULONG Index;
    ULONG Reports;
} SANDPIPER_SLOT, *PSANDPIPER_SLOT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SandpiperUnload;
static KSTART_ROUTINE SandpiperThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN SandpiperAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SandpiperDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SandpiperCleanupBindingContext;

static const NPIID SandpiperNpiId = { 0xebb43d43, 0x924c, 0x5aba, { 0xbe, 0x46, 0x14, 0x51, 0x66, 0x60, 0x60, 0x3b } };
static const NPI_MODULEID SandpiperModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x518b0639, 0xea1e, 0x565b, { 0xa9, 0x07, 0x3a, 0x6f, 0xdd, 0x4e, 0xd1, 0xb4 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SandpiperCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SandpiperAttachProvider,
    SandpiperDetachProvider,
    SandpiperCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SandpiperNpiId, &SandpiperModuleId, 0, NULL }
};

static HANDLE SandpiperClientHandle;
static SANDPIPER_SLOT SandpiperSlots[SANDPIPER_THREADS];
static KEVENT SandpiperStop;
static KSEMAPHORE SandpiperWork; // One count for each report that is due, and for each thread that shall end.
static KSPIN_LOCK SandpiperLock;
_Guarded_by_(SandpiperLock) static LIST_ENTRY SandpiperBindings;
static ULONG SandpiperRunning; // threads
static KEVENT SandpiperAllOut;
static LONG SandpiperTraced;

// The number of the next line in the log.
static VOID
SandpiperTrace(VOID)
{
    InterlockedIncrement(&SandpiperTraced);
}

// Takes one report that is due. FALSE: there is none.
static BOOLEAN
SandpiperTakeReport(VOID)
{
    BOOLEAN Taken = FALSE;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SandpiperLock, &OldIrql);
    for (Entry = SandpiperBindings.Flink; Entry != &SandpiperBindings && !Taken; Entry = Entry->Flink) {
        PSANDPIPER_BINDING Binding = CONTAINING_RECORD(Entry, SANDPIPER_BINDING, Link);

        if (Binding->ReportsDue != 0) {
            Binding->ReportsDue--;
            Taken = TRUE;
        }
    }
    KeReleaseSpinLock(&SandpiperLock, OldIrql);
    return Taken;
}

_Use_decl_annotations_
static VOID
SandpiperThread(PVOID StartContext)
{
    PSANDPIPER_SLOT Slot = (PSANDPIPER_SLOT)StartContext;

    for (;;) {
        KeWaitForSingleObject(&SandpiperWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SandpiperStop) != 0) {
            break;
        }
        if (SandpiperTakeReport()) {
            Slot->Reports++;
        }
    }

    // Defect: both threads may see the same count.
    SandpiperTrace();
    if (--SandpiperRunning == 0) {
        KeSetEvent(&SandpiperAllOut, IO_NO_INCREMENT, FALSE);
    }
    SandpiperTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SandpiperAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSANDPIPER_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSANDPIPER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SANDPIPER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReportsDue = SANDPIPER_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SANDPIPER_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&SandpiperLock, &OldIrql);
    InsertTailList(&SandpiperBindings, &Binding->Link);
    KeReleaseSpinLock(&SandpiperLock, OldIrql);

    KeReleaseSemaphore(&SandpiperWork, IO_NO_INCREMENT, SANDPIPER_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SandpiperDetachProvider(PVOID ClientBindingContext)
{
    PSANDPIPER_BINDING Binding = (PSANDPIPER_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SandpiperLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&SandpiperLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SandpiperCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SANDPIPER_POOL_TAG);
}

// Ends the first Count threads.
static VOID
SandpiperStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    KeSetEvent(&SandpiperStop, IO_NO_INCREMENT, FALSE);
    for (Index = 0; Index < Count; Index++) {
        KeReleaseSemaphore(&SandpiperWork, IO_NO_INCREMENT, 1, FALSE);
    }

    if (Count == SANDPIPER_THREADS) {
        KeWaitForSingleObject(&SandpiperAllOut, Executive, KernelMode, FALSE, NULL);
    }
    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(SandpiperSlots[Index].Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(SandpiperSlots[Index].Thread);
    }
}

_Must_inspect_result_
static NTSTATUS
SandpiperStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    SandpiperRunning = SANDPIPER_THREADS;
    for (Index = 0; Index < SANDPIPER_THREADS; Index++) {
        SandpiperSlots[Index].Index = Index;
        Status = PsCreateSystemThread(
            &ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SandpiperThread, &SandpiperSlots[Index]);
        if (!NT_SUCCESS(Status)) {
            SandpiperStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SandpiperSlots[Index].Thread, NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
SandpiperUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(SandpiperClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SandpiperClientHandle);
    }

    SandpiperStopThreads(SANDPIPER_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SandpiperUnload;
    KeInitializeEvent(&SandpiperStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&SandpiperWork, 0, MAXLONG);
    KeInitializeSpinLock(&SandpiperLock);
    InitializeListHead(&SandpiperBindings);
    KeInitializeEvent(&SandpiperAllOut, NotificationEvent, FALSE);

    Status = SandpiperStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&SandpiperCharacteristics, NULL, &SandpiperClientHandle);
    if (!NT_SUCCESS(Status)) {
        SandpiperStopThreads(SANDPIPER_THREADS);
    }

    return Status;
}
