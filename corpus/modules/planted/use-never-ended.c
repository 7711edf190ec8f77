// nmrfuzz: module
// summary: Client whose thread skips a binding that the other thread is visiting, without giving back the use it has counted.
// provides: 0
// consumes: 1
// expect: deadlock
// rule: R68
// needs: both threads visit one binding at the same time
// interleaving: yes
// hardness: 1 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FERRY_POOL_TAG 'rreF'
#define FERRY_THREADS 2

typedef struct _FERRY_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG InVisit;
    LONG64 LastSample;
} FERRY_BINDING, *PFERRY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FerryUnload;
static KSTART_ROUTINE FerryThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN FerryAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN FerryDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN FerryCleanupBindingContext;

static const NPIID FerryNpiId = { 0xf80ff175, 0xb092, 0x59b5, { 0xb4, 0xcd, 0x60, 0x57, 0xde, 0x99, 0x93, 0x46 } };
static const NPI_MODULEID FerryModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x61ead7f3, 0x752d, 0x5a31, { 0xab, 0xe2, 0x3e, 0x39, 0x2d, 0x9f, 0x75, 0x09 } } }
};

static const NPI_CLIENT_CHARACTERISTICS FerryCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    FerryAttachProvider,
    FerryDetachProvider,
    FerryCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FerryNpiId, &FerryModuleId, 0, NULL }
};

static HANDLE FerryClientHandle;
static PKTHREAD FerryThreads[FERRY_THREADS];
static KEVENT FerryStop;
static KSEMAPHORE FerryWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK FerryLock;
_Guarded_by_(FerryLock) static LIST_ENTRY FerryBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PFERRY_BINDING
FerryBeginUse(VOID)
{
    PFERRY_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FerryLock, &OldIrql);
    for (Entry = FerryBindings.Flink; Entry != &FerryBindings; Entry = Entry->Flink) {
        PFERRY_BINDING Binding = CONTAINING_RECORD(Entry, FERRY_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&FerryLock, OldIrql);
    return Found;
}

static VOID
FerryEndUse(_In_ PFERRY_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FerryLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&FerryLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
FerryThread(PVOID StartContext)
{
    PFERRY_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&FerryWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&FerryStop) != 0) {
            break;
        }

        Binding = FerryBeginUse();
        if (Binding != NULL) {
            if (InterlockedExchange(&Binding->InVisit, 1) != 0) {
                // Defect: FerryBeginUse has counted a use, and nobody ends it.
                continue;
            }
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            InterlockedExchange(&Binding->InVisit, 0);
            FerryEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FerryAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PFERRY_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PFERRY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), FERRY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = FERRY_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, FERRY_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&FerryLock, &OldIrql);
    InsertTailList(&FerryBindings, &Binding->Link);
    KeReleaseSpinLock(&FerryLock, OldIrql);

    KeReleaseSemaphore(&FerryWork, IO_NO_INCREMENT, FERRY_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FerryDetachProvider(PVOID ClientBindingContext)
{
    PFERRY_BINDING Binding = (PFERRY_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FerryLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&FerryLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FerryCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, FERRY_POOL_TAG);
}

// Ends the first Count threads.
static VOID
FerryStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&FerryStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&FerryWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(FerryThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(FerryThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
FerryStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < FERRY_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, FerryThread, NULL);
        if (!NT_SUCCESS(Status)) {
            FerryStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&FerryThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
FerryUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in FerryEndUse.
    if (NmrDeregisterClient(FerryClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(FerryClientHandle);
    }

    FerryStopThreads(FERRY_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FerryUnload;

    KeInitializeEvent(&FerryStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&FerryWork, 0, MAXLONG);
    KeInitializeSpinLock(&FerryLock);
    InitializeListHead(&FerryBindings);

    Status = FerryStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&FerryCharacteristics, NULL, &FerryClientHandle);
    if (!NT_SUCCESS(Status)) {
        FerryStopThreads(FERRY_THREADS);
    }

    return Status;
}
