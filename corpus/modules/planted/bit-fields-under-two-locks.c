// nmrfuzz: module
// summary: Client whose bindings have two bits in one word, each changed under a lock of its own.
// provides: 0
// consumes: 1
// expect: deadlock, data-race
// rule: none
// needs: a provider leaves while the thread sets the other bit
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LAPWING_POOL_TAG 'wpaL'

typedef struct _LAPWING_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress; // under LapwingLock
    ULONG Detaching : 1; // under LapwingLock
    ULONG Sampled : 1;   // under LapwingSampleLock
    BOOLEAN Wanted; // A sample is owed.
    ULONGLONG LastSample;
} LAPWING_BINDING, *PLAPWING_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LapwingUnload;
static KSTART_ROUTINE LapwingThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN LapwingAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN LapwingDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN LapwingCleanupBindingContext;

static const NPIID LapwingNpiId = { 0xe211442e, 0x6b48, 0x503c, { 0xa1, 0x32, 0x00, 0x5c, 0xe2, 0x23, 0x4a, 0x84 } };
static const NPI_MODULEID LapwingModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9d5b6d9f, 0xc572, 0x5762, { 0x8e, 0x65, 0x4b, 0xd9, 0xbf, 0xe9, 0x7b, 0x44 } } }
};

static const NPI_CLIENT_CHARACTERISTICS LapwingCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    LapwingAttachProvider,
    LapwingDetachProvider,
    LapwingCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LapwingNpiId, &LapwingModuleId, 0, NULL }
};

static HANDLE LapwingClientHandle;
static PKTHREAD LapwingThreadObject;
static KEVENT LapwingStop;
static KSEMAPHORE LapwingWork; // One count for each sample owed.
static KSPIN_LOCK LapwingLock;
_Guarded_by_(LapwingLock) static LIST_ENTRY LapwingBindings;
static KSPIN_LOCK LapwingSampleLock;
static LONG LapwingTraced;

// The number of the next line in the log.
static VOID
LapwingTrace(VOID)
{
    InterlockedIncrement(&LapwingTraced);
}

// Takes a binding that is owed a sample, and counts its use. NULL: there is none.
_Must_inspect_result_
static PLAPWING_BINDING
LapwingBeginUse(VOID)
{
    PLAPWING_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LapwingLock, &OldIrql);
    for (Entry = LapwingBindings.Flink; Entry != &LapwingBindings; Entry = Entry->Flink) {
        PLAPWING_BINDING Binding = CONTAINING_RECORD(Entry, LAPWING_BINDING, Link);

        if (Binding->Wanted) {
            Binding->Wanted = FALSE;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&LapwingLock, OldIrql);
    return Found;
}

static VOID
LapwingSample(_In_ PLAPWING_BINDING Binding)
{
    KIRQL OldIrql;

    LapwingTrace();
    Binding->LastSample = KeQueryInterruptTime();

    // Defect: the other bit is in the same word, and is written back with this one.
    KeAcquireSpinLock(&LapwingSampleLock, &OldIrql);
    Binding->Sampled = 1;
    KeReleaseSpinLock(&LapwingSampleLock, OldIrql);
    LapwingTrace();
}

static VOID
LapwingEndUse(_In_ PLAPWING_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&LapwingLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&LapwingLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
LapwingThread(PVOID StartContext)
{
    PLAPWING_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&LapwingWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&LapwingStop) != 0) {
            break;
        }

        Binding = LapwingBeginUse();
        if (Binding != NULL) {
            LapwingSample(Binding);
            LapwingEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LapwingAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PLAPWING_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PLAPWING_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), LAPWING_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Wanted = TRUE;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, LAPWING_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&LapwingLock, &OldIrql);
    InsertTailList(&LapwingBindings, &Binding->Link);
    KeReleaseSpinLock(&LapwingLock, OldIrql);

    KeReleaseSemaphore(&LapwingWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LapwingDetachProvider(PVOID ClientBindingContext)
{
    PLAPWING_BINDING Binding = (PLAPWING_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    LapwingTrace();
    KeAcquireSpinLock(&LapwingLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = 1;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&LapwingLock, OldIrql);
    LapwingTrace();

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LapwingCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, LAPWING_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
LapwingStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, LapwingThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&LapwingThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
LapwingStopThread(VOID)
{
    KeSetEvent(&LapwingStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&LapwingWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(LapwingThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(LapwingThreadObject);
}

_Use_decl_annotations_
static VOID
LapwingUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs the thread, so the thread ends after the wait.
    if (NmrDeregisterClient(LapwingClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(LapwingClientHandle);
    }

    LapwingStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LapwingUnload;
    KeInitializeEvent(&LapwingStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&LapwingWork, 0, MAXLONG);
    KeInitializeSpinLock(&LapwingLock);
    KeInitializeSpinLock(&LapwingSampleLock);
    InitializeListHead(&LapwingBindings);

    Status = LapwingStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&LapwingCharacteristics, NULL, &LapwingClientHandle);
    if (!NT_SUCCESS(Status)) {
        LapwingStopThread();
    }

    return Status;
}
