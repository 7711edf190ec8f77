// nmrfuzz: module
// summary: Client whose detach callback looks at the count of uses and announces that it waits in two separate steps.
// provides: 0
// consumes: 1
// expect: deadlock
// rule: R77, R68
// needs: the last use ends between the two steps of the detach callback
// interleaving: yes
// hardness: 65 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GUARD_POOL_TAG 'rauG'
#define GUARD_THREADS 2

typedef struct _GUARD_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} GUARD_BINDING, *PGUARD_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GuardUnload;
static KSTART_ROUTINE GuardThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN GuardAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GuardDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GuardCleanupBindingContext;

static const NPIID GuardNpiId = { 0x92cf55eb, 0x7cac, 0x583b, { 0xa5, 0x30, 0x7a, 0x43, 0x8f, 0x29, 0xef, 0x42 } };
static const NPI_MODULEID GuardModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc7a077a3, 0xecaf, 0x5e88, { 0x8f, 0x4b, 0x43, 0xc7, 0x6a, 0x8a, 0x31, 0x2f } } }
};

static const NPI_CLIENT_CHARACTERISTICS GuardCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GuardAttachProvider,
    GuardDetachProvider,
    GuardCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GuardNpiId, &GuardModuleId, 0, NULL }
};

static HANDLE GuardClientHandle;
static PKTHREAD GuardThreads[GUARD_THREADS];
static KEVENT GuardStop;
static KSEMAPHORE GuardWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK GuardLock;
_Guarded_by_(GuardLock) static LIST_ENTRY GuardBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PGUARD_BINDING
GuardBeginUse(VOID)
{
    PGUARD_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GuardLock, &OldIrql);
    for (Entry = GuardBindings.Flink; Entry != &GuardBindings; Entry = Entry->Flink) {
        PGUARD_BINDING Binding = CONTAINING_RECORD(Entry, GUARD_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&GuardLock, OldIrql);
    return Found;
}

static VOID
GuardEndUse(_In_ PGUARD_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GuardLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&GuardLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
GuardThread(PVOID StartContext)
{
    PGUARD_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&GuardWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&GuardStop) != 0) {
            break;
        }

        Binding = GuardBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            GuardEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GuardAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGUARD_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PGUARD_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GUARD_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = GUARD_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GUARD_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&GuardLock, &OldIrql);
    InsertTailList(&GuardBindings, &Binding->Link);
    KeReleaseSpinLock(&GuardLock, OldIrql);

    KeReleaseSemaphore(&GuardWork, IO_NO_INCREMENT, GUARD_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GuardDetachProvider(PVOID ClientBindingContext)
{
    PGUARD_BINDING Binding = (PGUARD_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GuardLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&GuardLock, OldIrql);

    if (!Busy) {
        return STATUS_SUCCESS;
    }

    // Defect: the last use may have ended since the lock was released. It saw no detach, so nobody completes this one.
    KeAcquireSpinLock(&GuardLock, &OldIrql);
    Binding->Detaching = TRUE;
    KeReleaseSpinLock(&GuardLock, OldIrql);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
GuardCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, GUARD_POOL_TAG);
}

// Ends the first Count threads.
static VOID
GuardStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&GuardStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&GuardWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(GuardThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(GuardThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
GuardStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < GUARD_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GuardThread, NULL);
        if (!NT_SUCCESS(Status)) {
            GuardStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GuardThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
GuardUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in GuardEndUse.
    if (NmrDeregisterClient(GuardClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GuardClientHandle);
    }

    GuardStopThreads(GUARD_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GuardUnload;

    KeInitializeEvent(&GuardStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&GuardWork, 0, MAXLONG);
    KeInitializeSpinLock(&GuardLock);
    InitializeListHead(&GuardBindings);

    Status = GuardStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&GuardCharacteristics, NULL, &GuardClientHandle);
    if (!NT_SUCCESS(Status)) {
        GuardStopThreads(GUARD_THREADS);
    }

    return Status;
}
