// nmrfuzz: module
// summary: Client whose thread keeps its place in the list of bindings while it drops the list lock.
// provides: 0
// consumes: 1
// expect: use-after-free
// rule: R88
// needs: a binding goes away while the thread visits it
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ROUNDS_POOL_TAG 'nuoR'
#define ROUNDS_THREADS 2

typedef struct _ROUNDS_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} ROUNDS_BINDING, *PROUNDS_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RoundsUnload;
static KSTART_ROUTINE RoundsThread;
static VOID RoundsEndUse(_In_ struct _ROUNDS_BINDING *Binding);
static NPI_CLIENT_ATTACH_PROVIDER_FN RoundsAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RoundsDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RoundsCleanupBindingContext;

static const NPIID RoundsNpiId = { 0x94bd4f38, 0x7ce2, 0x5e83, { 0x92, 0x5a, 0x32, 0x96, 0xe6, 0x13, 0xdb, 0x67 } };
static const NPI_MODULEID RoundsModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x50b91829, 0xfe5c, 0x5f4b, { 0x81, 0x88, 0xa8, 0xe4, 0xff, 0x1e, 0x8f, 0x4e } } }
};

static const NPI_CLIENT_CHARACTERISTICS RoundsCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RoundsAttachProvider,
    RoundsDetachProvider,
    RoundsCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RoundsNpiId, &RoundsModuleId, 0, NULL }
};

static HANDLE RoundsClientHandle;
static PKTHREAD RoundsThreads[ROUNDS_THREADS];
static KEVENT RoundsStop;
static KSEMAPHORE RoundsWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK RoundsLock;
_Guarded_by_(RoundsLock) static LIST_ENTRY RoundsBindings;

// Visits every binding that is owed a sample.
static VOID
RoundsVisitAll(VOID)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RoundsLock, &OldIrql);
    for (Entry = RoundsBindings.Flink; Entry != &RoundsBindings; Entry = Entry->Flink) {
        PROUNDS_BINDING Binding = CONTAINING_RECORD(Entry, ROUNDS_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            KeReleaseSpinLock(&RoundsLock, OldIrql);

            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            RoundsEndUse(Binding);

            // Defect: the binding has been let go, yet the walk goes on from its link.
            KeAcquireSpinLock(&RoundsLock, &OldIrql);
        }
    }
    KeReleaseSpinLock(&RoundsLock, OldIrql);
}

static VOID
RoundsEndUse(_In_ PROUNDS_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RoundsLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&RoundsLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
RoundsThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&RoundsWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&RoundsStop) != 0) {
            break;
        }

        RoundsVisitAll();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RoundsAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PROUNDS_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PROUNDS_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ROUNDS_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = ROUNDS_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ROUNDS_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&RoundsLock, &OldIrql);
    InsertTailList(&RoundsBindings, &Binding->Link);
    KeReleaseSpinLock(&RoundsLock, OldIrql);

    KeReleaseSemaphore(&RoundsWork, IO_NO_INCREMENT, ROUNDS_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RoundsDetachProvider(PVOID ClientBindingContext)
{
    PROUNDS_BINDING Binding = (PROUNDS_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RoundsLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&RoundsLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RoundsCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ROUNDS_POOL_TAG);
}

// Ends the first Count threads.
static VOID
RoundsStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&RoundsStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&RoundsWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(RoundsThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(RoundsThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
RoundsStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < ROUNDS_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RoundsThread, NULL);
        if (!NT_SUCCESS(Status)) {
            RoundsStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RoundsThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
RoundsUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in RoundsEndUse.
    if (NmrDeregisterClient(RoundsClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RoundsClientHandle);
    }

    RoundsStopThreads(ROUNDS_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RoundsUnload;

    KeInitializeEvent(&RoundsStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&RoundsWork, 0, MAXLONG);
    KeInitializeSpinLock(&RoundsLock);
    InitializeListHead(&RoundsBindings);

    Status = RoundsStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&RoundsCharacteristics, NULL, &RoundsClientHandle);
    if (!NT_SUCCESS(Status)) {
        RoundsStopThreads(ROUNDS_THREADS);
    }

    return Status;
}
