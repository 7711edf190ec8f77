// nmrfuzz: module
// summary: Client whose Unload spins until as many visits were made as were ever owed, though visits lapse with their binding.
// provides: 0
// consumes: 1
// expect: livelock
// rule: none
// needs: a binding goes away before both threads have visited it
// interleaving: yes
// hardness: 28 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PATIENCE_POOL_TAG 'itaP'
#define PATIENCE_THREADS 2

typedef struct _PATIENCE_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} PATIENCE_BINDING, *PPATIENCE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PatienceUnload;
static KSTART_ROUTINE PatienceThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN PatienceAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PatienceDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PatienceCleanupBindingContext;

static const NPIID PatienceNpiId = { 0x460cdd7d, 0xa74b, 0x5067, { 0x91, 0xa7, 0x6f, 0xf4, 0x12, 0x68, 0x1e, 0x42 } };
static const NPI_MODULEID PatienceModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xdabcbddb, 0xf8d8, 0x50ed, { 0x91, 0x95, 0xa5, 0x6d, 0x12, 0x22, 0x3b, 0x49 } } }
};

static const NPI_CLIENT_CHARACTERISTICS PatienceCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PatienceAttachProvider,
    PatienceDetachProvider,
    PatienceCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PatienceNpiId, &PatienceModuleId, 0, NULL }
};

static HANDLE PatienceClientHandle;
static LONG PatienceOwed;
static LONG PatienceMade;
static PKTHREAD PatienceThreads[PATIENCE_THREADS];
static KEVENT PatienceStop;
static KSEMAPHORE PatienceWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK PatienceLock;
_Guarded_by_(PatienceLock) static LIST_ENTRY PatienceBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PPATIENCE_BINDING
PatienceBeginUse(VOID)
{
    PPATIENCE_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PatienceLock, &OldIrql);
    for (Entry = PatienceBindings.Flink; Entry != &PatienceBindings; Entry = Entry->Flink) {
        PPATIENCE_BINDING Binding = CONTAINING_RECORD(Entry, PATIENCE_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&PatienceLock, OldIrql);
    return Found;
}

static VOID
PatienceEndUse(_In_ PPATIENCE_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PatienceLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&PatienceLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
PatienceThread(PVOID StartContext)
{
    PPATIENCE_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&PatienceWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&PatienceStop) != 0) {
            break;
        }

        Binding = PatienceBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            PatienceEndUse(Binding);
            InterlockedIncrement(&PatienceMade);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PatienceAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPATIENCE_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPATIENCE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PATIENCE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = PATIENCE_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PATIENCE_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&PatienceLock, &OldIrql);
    InsertTailList(&PatienceBindings, &Binding->Link);
    KeReleaseSpinLock(&PatienceLock, OldIrql);

    InterlockedExchangeAdd(&PatienceOwed, PATIENCE_THREADS);
    KeReleaseSemaphore(&PatienceWork, IO_NO_INCREMENT, PATIENCE_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PatienceDetachProvider(PVOID ClientBindingContext)
{
    PPATIENCE_BINDING Binding = (PPATIENCE_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PatienceLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&PatienceLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PatienceCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PATIENCE_POOL_TAG);
}

// Ends the first Count threads.
static VOID
PatienceStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&PatienceStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&PatienceWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(PatienceThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(PatienceThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
PatienceStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < PATIENCE_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PatienceThread, NULL);
        if (!NT_SUCCESS(Status)) {
            PatienceStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PatienceThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
PatienceUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in PatienceEndUse.
    if (NmrDeregisterClient(PatienceClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PatienceClientHandle);
    }

    // Defect: a visit whose binding went away first is never made.
    while (InterlockedCompareExchange(&PatienceMade, 0, 0) != InterlockedCompareExchange(&PatienceOwed, 0, 0)) {
        YieldProcessor();
    }

    PatienceStopThreads(PATIENCE_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PatienceUnload;

    KeInitializeEvent(&PatienceStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&PatienceWork, 0, MAXLONG);
    KeInitializeSpinLock(&PatienceLock);
    InitializeListHead(&PatienceBindings);

    Status = PatienceStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&PatienceCharacteristics, NULL, &PatienceClientHandle);
    if (!NT_SUCCESS(Status)) {
        PatienceStopThreads(PATIENCE_THREADS);
    }

    return Status;
}
