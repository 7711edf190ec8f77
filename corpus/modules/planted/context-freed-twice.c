// nmrfuzz: module
// summary: Client whose last use frees the binding context that the cleanup callback frees as well.
// provides: 0
// consumes: 1
// expect: double-free
// rule: R85
// needs: a detach pends because a use is in progress
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ESCORT_POOL_TAG 'ocsE'
#define ESCORT_THREADS 2

typedef struct _ESCORT_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} ESCORT_BINDING, *PESCORT_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EscortUnload;
static KSTART_ROUTINE EscortThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN EscortAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN EscortDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN EscortCleanupBindingContext;

static const NPIID EscortNpiId = { 0x31c17b3d, 0x78ee, 0x51ec, { 0xa1, 0xb0, 0x7f, 0x7f, 0xdc, 0x64, 0x89, 0x9f } };
static const NPI_MODULEID EscortModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x2b2ca8f3, 0xa8e0, 0x54e2, { 0xb2, 0xf3, 0xba, 0x80, 0xfa, 0x70, 0x07, 0x6e } } }
};

static const NPI_CLIENT_CHARACTERISTICS EscortCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    EscortAttachProvider,
    EscortDetachProvider,
    EscortCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EscortNpiId, &EscortModuleId, 0, NULL }
};

static HANDLE EscortClientHandle;
static PKTHREAD EscortThreads[ESCORT_THREADS];
static KEVENT EscortStop;
static KSEMAPHORE EscortWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK EscortLock;
_Guarded_by_(EscortLock) static LIST_ENTRY EscortBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PESCORT_BINDING
EscortBeginUse(VOID)
{
    PESCORT_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EscortLock, &OldIrql);
    for (Entry = EscortBindings.Flink; Entry != &EscortBindings; Entry = Entry->Flink) {
        PESCORT_BINDING Binding = CONTAINING_RECORD(Entry, ESCORT_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&EscortLock, OldIrql);
    return Found;
}

static VOID
EscortEndUse(_In_ PESCORT_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EscortLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&EscortLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);

        // Defect: this belongs to the cleanup callback, which the completion brings about.
        ExFreePoolWithTag(Binding, ESCORT_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
EscortThread(PVOID StartContext)
{
    PESCORT_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&EscortWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&EscortStop) != 0) {
            break;
        }

        Binding = EscortBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            EscortEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EscortAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PESCORT_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PESCORT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ESCORT_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = ESCORT_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ESCORT_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&EscortLock, &OldIrql);
    InsertTailList(&EscortBindings, &Binding->Link);
    KeReleaseSpinLock(&EscortLock, OldIrql);

    KeReleaseSemaphore(&EscortWork, IO_NO_INCREMENT, ESCORT_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EscortDetachProvider(PVOID ClientBindingContext)
{
    PESCORT_BINDING Binding = (PESCORT_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EscortLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&EscortLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EscortCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ESCORT_POOL_TAG);
}

// Ends the first Count threads.
static VOID
EscortStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&EscortStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&EscortWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(EscortThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(EscortThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
EscortStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < ESCORT_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EscortThread, NULL);
        if (!NT_SUCCESS(Status)) {
            EscortStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EscortThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
EscortUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in EscortEndUse.
    if (NmrDeregisterClient(EscortClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(EscortClientHandle);
    }

    EscortStopThreads(ESCORT_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EscortUnload;

    KeInitializeEvent(&EscortStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&EscortWork, 0, MAXLONG);
    KeInitializeSpinLock(&EscortLock);
    InitializeListHead(&EscortBindings);

    Status = EscortStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&EscortCharacteristics, NULL, &EscortClientHandle);
    if (!NT_SUCCESS(Status)) {
        EscortStopThreads(ESCORT_THREADS);
    }

    return Status;
}
