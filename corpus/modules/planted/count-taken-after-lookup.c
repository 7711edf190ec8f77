// nmrfuzz: module
// summary: Client whose thread finds a binding under the lock, drops the lock, and takes it again to count its use.
// provides: 0
// consumes: 1
// expect: use-after-free, bad-call, bad-handle
// rule: R77, R88
// needs: a binding is detached between lookup and count
// interleaving: yes
// hardness: 27 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SCOUT_POOL_TAG 'uocS'
#define SCOUT_THREADS 2

typedef struct _SCOUT_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} SCOUT_BINDING, *PSCOUT_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ScoutUnload;
static KSTART_ROUTINE ScoutThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN ScoutAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ScoutDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ScoutCleanupBindingContext;

static const NPIID ScoutNpiId = { 0x5533dc17, 0xeed5, 0x5f5e, { 0xab, 0x47, 0x9f, 0xf0, 0x67, 0x17, 0xb0, 0x58 } };
static const NPI_MODULEID ScoutModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x80dba351, 0x0600, 0x50ca, { 0xba, 0xd4, 0xf5, 0xcd, 0x80, 0x87, 0xeb, 0xb7 } } }
};

static const NPI_CLIENT_CHARACTERISTICS ScoutCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ScoutAttachProvider,
    ScoutDetachProvider,
    ScoutCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ScoutNpiId, &ScoutModuleId, 0, NULL }
};

static HANDLE ScoutClientHandle;
static PKTHREAD ScoutThreads[SCOUT_THREADS];
static KEVENT ScoutStop;
static KSEMAPHORE ScoutWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK ScoutLock;
_Guarded_by_(ScoutLock) static LIST_ENTRY ScoutBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PSCOUT_BINDING
ScoutBeginUse(VOID)
{
    PSCOUT_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ScoutLock, &OldIrql);
    for (Entry = ScoutBindings.Flink; Entry != &ScoutBindings; Entry = Entry->Flink) {
        PSCOUT_BINDING Binding = CONTAINING_RECORD(Entry, SCOUT_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&ScoutLock, OldIrql);

    // Defect: nothing has kept the binding since the lock was released.
    if (Found != NULL) {
        KeAcquireSpinLock(&ScoutLock, &OldIrql);
        Found->UsesInProgress++;
        KeReleaseSpinLock(&ScoutLock, OldIrql);
    }
    return Found;
}

static VOID
ScoutEndUse(_In_ PSCOUT_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ScoutLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&ScoutLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
ScoutThread(PVOID StartContext)
{
    PSCOUT_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&ScoutWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&ScoutStop) != 0) {
            break;
        }

        Binding = ScoutBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            ScoutEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ScoutAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSCOUT_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSCOUT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SCOUT_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = SCOUT_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SCOUT_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&ScoutLock, &OldIrql);
    InsertTailList(&ScoutBindings, &Binding->Link);
    KeReleaseSpinLock(&ScoutLock, OldIrql);

    KeReleaseSemaphore(&ScoutWork, IO_NO_INCREMENT, SCOUT_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ScoutDetachProvider(PVOID ClientBindingContext)
{
    PSCOUT_BINDING Binding = (PSCOUT_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ScoutLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&ScoutLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ScoutCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SCOUT_POOL_TAG);
}

// Ends the first Count threads.
static VOID
ScoutStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&ScoutStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&ScoutWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(ScoutThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(ScoutThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
ScoutStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < SCOUT_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, ScoutThread, NULL);
        if (!NT_SUCCESS(Status)) {
            ScoutStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&ScoutThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
ScoutUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in ScoutEndUse.
    if (NmrDeregisterClient(ScoutClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ScoutClientHandle);
    }

    ScoutStopThreads(SCOUT_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ScoutUnload;

    KeInitializeEvent(&ScoutStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&ScoutWork, 0, MAXLONG);
    KeInitializeSpinLock(&ScoutLock);
    InitializeListHead(&ScoutBindings);

    Status = ScoutStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&ScoutCharacteristics, NULL, &ScoutClientHandle);
    if (!NT_SUCCESS(Status)) {
        ScoutStopThreads(SCOUT_THREADS);
    }

    return Status;
}
