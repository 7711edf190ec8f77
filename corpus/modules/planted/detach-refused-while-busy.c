// nmrfuzz: module
// summary: Client whose detach callback answers with an error while one of its uses is in progress, instead of pending.
// provides: 0
// consumes: 1
// expect: bad-status
// rule: R65, R67
// needs: a use is in progress when the detach callback runs
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define STUDIO_POOL_TAG 'dutS'
#define STUDIO_THREADS 2

typedef struct _STUDIO_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    LONG64 LastSample;
} STUDIO_BINDING, *PSTUDIO_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD StudioUnload;
static KSTART_ROUTINE StudioThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN StudioAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN StudioDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN StudioCleanupBindingContext;

static const NPIID StudioNpiId = { 0x79c66d1c, 0x1de8, 0x59a9, { 0x8a, 0x58, 0x5b, 0x2e, 0xf8, 0x3b, 0x85, 0xbb } };
static const NPI_MODULEID StudioModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xdd4fb101, 0x4fe4, 0x5555, { 0x87, 0xc1, 0xd5, 0xcd, 0xba, 0xde, 0xa3, 0xa4 } } }
};

static const NPI_CLIENT_CHARACTERISTICS StudioCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    StudioAttachProvider,
    StudioDetachProvider,
    StudioCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &StudioNpiId, &StudioModuleId, 0, NULL }
};

static HANDLE StudioClientHandle;
static PKTHREAD StudioThreads[STUDIO_THREADS];
static KEVENT StudioStop;
static KSEMAPHORE StudioWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK StudioLock;
_Guarded_by_(StudioLock) static LIST_ENTRY StudioBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PSTUDIO_BINDING
StudioBeginUse(VOID)
{
    PSTUDIO_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&StudioLock, &OldIrql);
    for (Entry = StudioBindings.Flink; Entry != &StudioBindings; Entry = Entry->Flink) {
        PSTUDIO_BINDING Binding = CONTAINING_RECORD(Entry, STUDIO_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&StudioLock, OldIrql);
    return Found;
}

static VOID
StudioEndUse(_In_ PSTUDIO_BINDING Binding)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&StudioLock, &OldIrql);
    Binding->UsesInProgress--;
    KeReleaseSpinLock(&StudioLock, OldIrql);
}

_Use_decl_annotations_
static VOID
StudioThread(PVOID StartContext)
{
    PSTUDIO_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&StudioWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&StudioStop) != 0) {
            break;
        }

        Binding = StudioBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            StudioEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StudioAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSTUDIO_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSTUDIO_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), STUDIO_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = STUDIO_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, STUDIO_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&StudioLock, &OldIrql);
    InsertTailList(&StudioBindings, &Binding->Link);
    KeReleaseSpinLock(&StudioLock, OldIrql);

    KeReleaseSemaphore(&StudioWork, IO_NO_INCREMENT, STUDIO_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StudioDetachProvider(PVOID ClientBindingContext)
{
    PSTUDIO_BINDING Binding = (PSTUDIO_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&StudioLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&StudioLock, OldIrql);

    // Defect: a detach cannot be refused.
    return Busy ? STATUS_DEVICE_BUSY : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
StudioCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, STUDIO_POOL_TAG);
}

// Ends the first Count threads.
static VOID
StudioStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&StudioStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&StudioWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(StudioThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(StudioThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
StudioStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < STUDIO_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, StudioThread, NULL);
        if (!NT_SUCCESS(Status)) {
            StudioStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&StudioThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
StudioUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(StudioClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(StudioClientHandle);
    }

    StudioStopThreads(STUDIO_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = StudioUnload;

    KeInitializeEvent(&StudioStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&StudioWork, 0, MAXLONG);
    KeInitializeSpinLock(&StudioLock);
    InitializeListHead(&StudioBindings);

    Status = StudioStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&StudioCharacteristics, NULL, &StudioClientHandle);
    if (!NT_SUCCESS(Status)) {
        StudioStopThreads(STUDIO_THREADS);
    }

    return Status;
}
