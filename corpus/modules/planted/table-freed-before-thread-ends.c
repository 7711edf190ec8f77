// nmrfuzz: module
// summary: Client whose Unload frees a table of counters while its threads are still at work.
// provides: 0
// consumes: 1
// expect: use-after-free
// rule: none
// needs: a thread is between the end of its use and its entry in the table when Unload frees that
// interleaving: yes
// hardness: 68 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define ABBEY_POOL_TAG 'ebbA'
#define ABBEY_THREADS 2

typedef struct _ABBEY_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} ABBEY_BINDING, *PABBEY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AbbeyUnload;
static KSTART_ROUTINE AbbeyThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN AbbeyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AbbeyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AbbeyCleanupBindingContext;

static const NPIID AbbeyNpiId = { 0x51514698, 0xf89f, 0x5d4b, { 0x9f, 0x5f, 0xdb, 0x63, 0xca, 0x05, 0xf3, 0xb7 } };
static const NPI_MODULEID AbbeyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb48413f7, 0x26e5, 0x5a22, { 0x87, 0xbd, 0x74, 0xa1, 0x62, 0xa1, 0x19, 0x5a } } }
};

static const NPI_CLIENT_CHARACTERISTICS AbbeyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AbbeyAttachProvider,
    AbbeyDetachProvider,
    AbbeyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AbbeyNpiId, &AbbeyModuleId, 0, NULL }
};

static HANDLE AbbeyClientHandle;
static LONG *AbbeyVisits; // In pool: [0] visits made, [1] visits that had lapsed.
static PKTHREAD AbbeyThreads[ABBEY_THREADS];
static KEVENT AbbeyStop;
static KSEMAPHORE AbbeyWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK AbbeyLock;
_Guarded_by_(AbbeyLock) static LIST_ENTRY AbbeyBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PABBEY_BINDING
AbbeyBeginUse(VOID)
{
    PABBEY_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AbbeyLock, &OldIrql);
    for (Entry = AbbeyBindings.Flink; Entry != &AbbeyBindings; Entry = Entry->Flink) {
        PABBEY_BINDING Binding = CONTAINING_RECORD(Entry, ABBEY_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&AbbeyLock, OldIrql);
    return Found;
}

static VOID
AbbeyEndUse(_In_ PABBEY_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AbbeyLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&AbbeyLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
AbbeyThread(PVOID StartContext)
{
    PABBEY_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&AbbeyWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&AbbeyStop) != 0) {
            break;
        }

        Binding = AbbeyBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            AbbeyEndUse(Binding);
        }
        InterlockedIncrement(&AbbeyVisits[Binding != NULL ? 0 : 1]);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AbbeyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PABBEY_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PABBEY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ABBEY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = ABBEY_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ABBEY_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&AbbeyLock, &OldIrql);
    InsertTailList(&AbbeyBindings, &Binding->Link);
    KeReleaseSpinLock(&AbbeyLock, OldIrql);

    KeReleaseSemaphore(&AbbeyWork, IO_NO_INCREMENT, ABBEY_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AbbeyDetachProvider(PVOID ClientBindingContext)
{
    PABBEY_BINDING Binding = (PABBEY_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&AbbeyLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&AbbeyLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AbbeyCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ABBEY_POOL_TAG);
}

// Ends the first Count threads.
static VOID
AbbeyStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&AbbeyStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&AbbeyWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(AbbeyThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(AbbeyThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
AbbeyStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < ABBEY_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, AbbeyThread, NULL);
        if (!NT_SUCCESS(Status)) {
            AbbeyStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&AbbeyThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
AbbeyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in AbbeyEndUse.
    if (NmrDeregisterClient(AbbeyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AbbeyClientHandle);
    }

    // Defect: in the wrong order, for the threads still write to the table.
    ExFreePoolWithTag(AbbeyVisits, ABBEY_POOL_TAG);
    AbbeyStopThreads(ABBEY_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AbbeyUnload;

    KeInitializeEvent(&AbbeyStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&AbbeyWork, 0, MAXLONG);
    KeInitializeSpinLock(&AbbeyLock);
    InitializeListHead(&AbbeyBindings);

    AbbeyVisits = (LONG *)ExAllocatePool2(POOL_FLAG_NON_PAGED, 2 * sizeof(LONG), ABBEY_POOL_TAG);
    if (AbbeyVisits == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = AbbeyStartThreads();
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(AbbeyVisits, ABBEY_POOL_TAG);
        return Status;
    }

    Status = NmrRegisterClient(&AbbeyCharacteristics, NULL, &AbbeyClientHandle);
    if (!NT_SUCCESS(Status)) {
        AbbeyStopThreads(ABBEY_THREADS);
        ExFreePoolWithTag(AbbeyVisits, ABBEY_POOL_TAG);
    }

    return Status;
}
