// nmrfuzz: module
// summary: Client that frees the binding context in its detach callback while one of its threads may still be visiting it.
// provides: 0
// consumes: 1
// expect: use-after-free, data-race
// rule: R80, R88
// needs: a thread has taken the binding from the list when the detach callback runs
// interleaving: yes
// hardness: 69 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PATROL_POOL_TAG 'rtaP'
#define PATROL_THREADS 2

typedef struct _PATROL_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    LONG64 LastSample;
} PATROL_BINDING, *PPATROL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PatrolUnload;
static KSTART_ROUTINE PatrolThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN PatrolAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PatrolDetachProvider;

static const NPIID PatrolNpiId = { 0x119a2d44, 0x95cc, 0x56c8, { 0x94, 0xce, 0xa0, 0xc8, 0x60, 0x51, 0x47, 0xd0 } };
static const NPI_MODULEID PatrolModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x43f38718, 0x303b, 0x5dbd, { 0xb7, 0x46, 0xa2, 0x65, 0xcf, 0x6d, 0xda, 0xbd } } }
};

static const NPI_CLIENT_CHARACTERISTICS PatrolCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PatrolAttachProvider,
    PatrolDetachProvider,
    NULL,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PatrolNpiId, &PatrolModuleId, 0, NULL }
};

static HANDLE PatrolClientHandle;
static PKTHREAD PatrolThreads[PATROL_THREADS];
static KEVENT PatrolStop;
static KSEMAPHORE PatrolWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK PatrolLock;
_Guarded_by_(PatrolLock) static LIST_ENTRY PatrolBindings;

// Takes one owed visit. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PPATROL_BINDING
PatrolNextVisit(VOID)
{
    PPATROL_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PatrolLock, &OldIrql);
    for (Entry = PatrolBindings.Flink; Entry != &PatrolBindings; Entry = Entry->Flink) {
        PPATROL_BINDING Binding = CONTAINING_RECORD(Entry, PATROL_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&PatrolLock, OldIrql);
    return Found;
}

_Use_decl_annotations_
static VOID
PatrolThread(PVOID StartContext)
{
    PPATROL_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&PatrolWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&PatrolStop) != 0) {
            break;
        }

        Binding = PatrolNextVisit();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PatrolAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPATROL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPATROL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PATROL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = PATROL_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PATROL_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&PatrolLock, &OldIrql);
    InsertTailList(&PatrolBindings, &Binding->Link);
    KeReleaseSpinLock(&PatrolLock, OldIrql);

    KeReleaseSemaphore(&PatrolWork, IO_NO_INCREMENT, PATROL_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PatrolDetachProvider(PVOID ClientBindingContext)
{
    PPATROL_BINDING Binding = (PPATROL_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PatrolLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&PatrolLock, OldIrql);

    // Defect: off the list, but a thread may have taken it from there and not be done with it.
    ExFreePoolWithTag(Binding, PATROL_POOL_TAG);
    return STATUS_SUCCESS;
}

// Ends the first Count threads.
static VOID
PatrolStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&PatrolStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&PatrolWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(PatrolThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(PatrolThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
PatrolStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < PATROL_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PatrolThread, NULL);
        if (!NT_SUCCESS(Status)) {
            PatrolStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PatrolThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
PatrolUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(PatrolClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PatrolClientHandle);
    }

    PatrolStopThreads(PATROL_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PatrolUnload;

    KeInitializeEvent(&PatrolStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&PatrolWork, 0, MAXLONG);
    KeInitializeSpinLock(&PatrolLock);
    InitializeListHead(&PatrolBindings);

    Status = PatrolStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&PatrolCharacteristics, NULL, &PatrolClientHandle);
    if (!NT_SUCCESS(Status)) {
        PatrolStopThreads(PATROL_THREADS);
    }

    return Status;
}
