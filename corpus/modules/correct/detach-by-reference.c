// nmrfuzz: module
// summary: Client with counted uses of each binding by two system threads; the last use completes a pending detach.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// One spin lock guards the list, each binding's count of uses and its Detaching flag. Under it the detach callback
// chooses between STATUS_SUCCESS and STATUS_PENDING, and under it a finishing use finds out that it was the last one,
// so exactly one of them ends the detach.

#include <ntddk.h>
#include <netioddk.h>

#define WATCH_POOL_TAG 'ctaW'
#define WATCH_THREADS 2

typedef struct _WATCH_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} WATCH_BINDING, *PWATCH_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WatchUnload;
static KSTART_ROUTINE WatchThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN WatchAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN WatchDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN WatchCleanupBindingContext;

static const NPIID WatchNpiId = { 0x0a91c0fe, 0xc0f1, 0x5582, { 0xa8, 0x7f, 0xe1, 0x1c, 0xa1, 0xb5, 0x3d, 0xab } };
static const NPI_MODULEID WatchModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4e852111, 0x7d8d, 0x5646, { 0xb4, 0xef, 0xfb, 0x57, 0x2d, 0xed, 0x0b, 0xe7 } } }
};

static const NPI_CLIENT_CHARACTERISTICS WatchCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    WatchAttachProvider,
    WatchDetachProvider,
    WatchCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WatchNpiId, &WatchModuleId, 0, NULL }
};

static HANDLE WatchClientHandle;
static PKTHREAD WatchThreads[WATCH_THREADS];
static KEVENT WatchStop;
static KSEMAPHORE WatchWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK WatchLock;
_Guarded_by_(WatchLock) static LIST_ENTRY WatchBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PWATCH_BINDING
WatchBeginUse(VOID)
{
    PWATCH_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WatchLock, &OldIrql);
    for (Entry = WatchBindings.Flink; Entry != &WatchBindings; Entry = Entry->Flink) {
        PWATCH_BINDING Binding = CONTAINING_RECORD(Entry, WATCH_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&WatchLock, OldIrql);
    return Found;
}

static VOID
WatchEndUse(_In_ PWATCH_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WatchLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&WatchLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
WatchThread(PVOID StartContext)
{
    PWATCH_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&WatchWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&WatchStop) != 0) {
            break;
        }

        Binding = WatchBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            WatchEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WatchAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PWATCH_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PWATCH_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), WATCH_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = WATCH_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, WATCH_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&WatchLock, &OldIrql);
    InsertTailList(&WatchBindings, &Binding->Link);
    KeReleaseSpinLock(&WatchLock, OldIrql);

    KeReleaseSemaphore(&WatchWork, IO_NO_INCREMENT, WATCH_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WatchDetachProvider(PVOID ClientBindingContext)
{
    PWATCH_BINDING Binding = (PWATCH_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WatchLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&WatchLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WatchCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, WATCH_POOL_TAG);
}

// Ends the first Count threads.
static VOID
WatchStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&WatchStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&WatchWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(WatchThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(WatchThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
WatchStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < WATCH_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, WatchThread, NULL);
        if (!NT_SUCCESS(Status)) {
            WatchStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&WatchThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
WatchUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in WatchEndUse.
    if (NmrDeregisterClient(WatchClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(WatchClientHandle);
    }

    WatchStopThreads(WATCH_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WatchUnload;

    KeInitializeEvent(&WatchStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&WatchWork, 0, MAXLONG);
    KeInitializeSpinLock(&WatchLock);
    InitializeListHead(&WatchBindings);

    Status = WatchStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&WatchCharacteristics, NULL, &WatchClientHandle);
    if (!NT_SUCCESS(Status)) {
        WatchStopThreads(WATCH_THREADS);
    }

    return Status;
}
