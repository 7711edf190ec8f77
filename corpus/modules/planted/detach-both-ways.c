// nmrfuzz: module
// summary: Client whose detach callback announces itself and looks at the count of uses in two separate steps.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle
// rule: R70, R77
// needs: the last use ends between the two steps of the detach callback
// interleaving: yes
// hardness: 65 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define DUPLEX_POOL_TAG 'lpuD'
#define DUPLEX_THREADS 2

typedef struct _DUPLEX_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} DUPLEX_BINDING, *PDUPLEX_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DuplexUnload;
static KSTART_ROUTINE DuplexThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN DuplexAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DuplexDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN DuplexCleanupBindingContext;

static const NPIID DuplexNpiId = { 0x90682cf9, 0x9884, 0x5e49, { 0xa0, 0x3a, 0x84, 0x9a, 0x27, 0x20, 0xd6, 0x42 } };
static const NPI_MODULEID DuplexModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe42048cd, 0x36ec, 0x5e55, { 0xbb, 0x11, 0x8e, 0x2f, 0x50, 0xc7, 0xa2, 0x24 } } }
};

static const NPI_CLIENT_CHARACTERISTICS DuplexCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    DuplexAttachProvider,
    DuplexDetachProvider,
    DuplexCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DuplexNpiId, &DuplexModuleId, 0, NULL }
};

static HANDLE DuplexClientHandle;
static PKTHREAD DuplexThreads[DUPLEX_THREADS];
static KEVENT DuplexStop;
static KSEMAPHORE DuplexWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK DuplexLock;
_Guarded_by_(DuplexLock) static LIST_ENTRY DuplexBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PDUPLEX_BINDING
DuplexBeginUse(VOID)
{
    PDUPLEX_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&DuplexLock, &OldIrql);
    for (Entry = DuplexBindings.Flink; Entry != &DuplexBindings; Entry = Entry->Flink) {
        PDUPLEX_BINDING Binding = CONTAINING_RECORD(Entry, DUPLEX_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&DuplexLock, OldIrql);
    return Found;
}

static VOID
DuplexEndUse(_In_ PDUPLEX_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&DuplexLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&DuplexLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
DuplexThread(PVOID StartContext)
{
    PDUPLEX_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&DuplexWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&DuplexStop) != 0) {
            break;
        }

        Binding = DuplexBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            DuplexEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DuplexAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PDUPLEX_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PDUPLEX_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), DUPLEX_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = DUPLEX_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, DUPLEX_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&DuplexLock, &OldIrql);
    InsertTailList(&DuplexBindings, &Binding->Link);
    KeReleaseSpinLock(&DuplexLock, OldIrql);

    KeReleaseSemaphore(&DuplexWork, IO_NO_INCREMENT, DUPLEX_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DuplexDetachProvider(PVOID ClientBindingContext)
{
    PDUPLEX_BINDING Binding = (PDUPLEX_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&DuplexLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    KeReleaseSpinLock(&DuplexLock, OldIrql);

    // Defect: the last use may have ended since the lock was released, and has then completed the detach.
    KeAcquireSpinLock(&DuplexLock, &OldIrql);
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&DuplexLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DuplexCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, DUPLEX_POOL_TAG);
}

// Ends the first Count threads.
static VOID
DuplexStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&DuplexStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&DuplexWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(DuplexThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(DuplexThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
DuplexStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < DUPLEX_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, DuplexThread, NULL);
        if (!NT_SUCCESS(Status)) {
            DuplexStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&DuplexThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
DuplexUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in DuplexEndUse.
    if (NmrDeregisterClient(DuplexClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(DuplexClientHandle);
    }

    DuplexStopThreads(DUPLEX_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DuplexUnload;

    KeInitializeEvent(&DuplexStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&DuplexWork, 0, MAXLONG);
    KeInitializeSpinLock(&DuplexLock);
    InitializeListHead(&DuplexBindings);

    Status = DuplexStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&DuplexCharacteristics, NULL, &DuplexClientHandle);
    if (!NT_SUCCESS(Status)) {
        DuplexStopThreads(DUPLEX_THREADS);
    }

    return Status;
}
