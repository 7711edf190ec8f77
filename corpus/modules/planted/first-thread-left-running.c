// nmrfuzz: module
// summary: Client whose DriverEntry does not end its first thread when the second one cannot be created.
// provides: 0
// consumes: 1
// expect: unload-running
// rule: R26, R108
// needs: creation of the second thread fails
// interleaving: no
// hardness: 57 schedules; 1000+ run to completion

// One spin lock guards the list, each binding's count of uses and its Detaching flag. Under it the detach callback
// chooses between STATUS_SUCCESS and STATUS_PENDING, and under it a finishing use finds out that it was the last one,
// so exactly one of them ends the detach.

#include <ntddk.h>
#include <netioddk.h>

#define LOOKOUT_POOL_TAG 'kooL'
#define LOOKOUT_THREADS 2

typedef struct _LOOKOUT_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} LOOKOUT_BINDING, *PLOOKOUT_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LookoutUnload;
static KSTART_ROUTINE LookoutThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN LookoutAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LookoutDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LookoutCleanupBindingContext;

static const NPIID LookoutNpiId = { 0x8cdc54c4, 0x38cf, 0x5eab, { 0x9f, 0x49, 0xd3, 0x0e, 0xc4, 0xc9, 0x33, 0x21 } };
static const NPI_MODULEID LookoutModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa69db3f1, 0xd943, 0x5ff4, { 0x97, 0x0c, 0x9b, 0x8c, 0xbd, 0xee, 0x8f, 0xb1 } } }
};

static const NPI_CLIENT_CHARACTERISTICS LookoutCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LookoutAttachProvider,
    LookoutDetachProvider,
    LookoutCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LookoutNpiId, &LookoutModuleId, 0, NULL }
};

static HANDLE LookoutClientHandle;
static PKTHREAD LookoutThreads[LOOKOUT_THREADS];
static KEVENT LookoutStop;
static KSEMAPHORE LookoutWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK LookoutLock;
_Guarded_by_(LookoutLock) static LIST_ENTRY LookoutBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PLOOKOUT_BINDING
LookoutBeginUse(VOID)
{
    PLOOKOUT_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LookoutLock, &OldIrql);
    for (Entry = LookoutBindings.Flink; Entry != &LookoutBindings; Entry = Entry->Flink) {
        PLOOKOUT_BINDING Binding = CONTAINING_RECORD(Entry, LOOKOUT_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&LookoutLock, OldIrql);
    return Found;
}

static VOID
LookoutEndUse(_In_ PLOOKOUT_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LookoutLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&LookoutLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
LookoutThread(PVOID StartContext)
{
    PLOOKOUT_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&LookoutWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&LookoutStop) != 0) {
            break;
        }

        Binding = LookoutBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            LookoutEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LookoutAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLOOKOUT_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PLOOKOUT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LOOKOUT_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = LOOKOUT_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, LOOKOUT_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&LookoutLock, &OldIrql);
    InsertTailList(&LookoutBindings, &Binding->Link);
    KeReleaseSpinLock(&LookoutLock, OldIrql);

    KeReleaseSemaphore(&LookoutWork, IO_NO_INCREMENT, LOOKOUT_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LookoutDetachProvider(PVOID ClientBindingContext)
{
    PLOOKOUT_BINDING Binding = (PLOOKOUT_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LookoutLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&LookoutLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LookoutCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, LOOKOUT_POOL_TAG);
}

// Ends the first Count threads.
static VOID
LookoutStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&LookoutStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&LookoutWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(LookoutThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(LookoutThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
LookoutStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < LOOKOUT_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, LookoutThread, NULL);
        if (!NT_SUCCESS(Status)) {
            // Defect: the threads that were created before are at work.
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&LookoutThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
LookoutUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in LookoutEndUse.
    if (NmrDeregisterClient(LookoutClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LookoutClientHandle);
    }

    LookoutStopThreads(LOOKOUT_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LookoutUnload;

    KeInitializeEvent(&LookoutStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&LookoutWork, 0, MAXLONG);
    KeInitializeSpinLock(&LookoutLock);
    InitializeListHead(&LookoutBindings);

    Status = LookoutStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&LookoutCharacteristics, NULL, &LookoutClientHandle);
    if (!NT_SUCCESS(Status)) {
        LookoutStopThreads(LOOKOUT_THREADS);
    }

    return Status;
}
