// nmrfuzz: module
// summary: Client whose threads have a slot each that only they write; Unload reads them when it has waited for the threads.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The start of a thread orders what it is given, its end what it leaves. Nothing guards a slot in between: it has one
// writer.

#include <ntddk.h>
#include <netioddk.h>

#define STINT_POOL_TAG 'nitS'
#define STINT_THREADS 2

typedef struct _STINT_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ReportsDue;
} STINT_BINDING, *PSTINT_BINDING;

typedef struct _STINT_SLOT {
    PKTHREAD Thread;
    ULONG Index;
    ULONG Reports;
} STINT_SLOT, *PSTINT_SLOT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD StintUnload;
static KSTART_ROUTINE StintThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN StintAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN StintDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN StintCleanupBindingContext;

static const NPIID StintNpiId = { 0xc6aeda99, 0x84a1, 0x57f9, { 0x84, 0xc2, 0x26, 0xc4, 0xa9, 0xf5, 0xbf, 0x4b } };
static const NPI_MODULEID StintModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x316248e5, 0x97f0, 0x5530, { 0x95, 0xf2, 0x35, 0xa3, 0xdc, 0x3b, 0x09, 0xfe } } }
};

static const NPI_CLIENT_CHARACTERISTICS StintCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    StintAttachProvider,
    StintDetachProvider,
    StintCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &StintNpiId, &StintModuleId, 0, NULL }
};

static HANDLE StintClientHandle;
static STINT_SLOT StintSlots[STINT_THREADS];
static KEVENT StintStop;
static KSEMAPHORE StintWork; // One count for each report that is due, and for each thread that shall end.
static KSPIN_LOCK StintLock;
_Guarded_by_(StintLock) static LIST_ENTRY StintBindings;
static ULONG StintReportsMade;

// Takes one report that is due. FALSE: there is none.
static BOOLEAN
StintTakeReport(VOID)
{
    BOOLEAN Taken = FALSE;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&StintLock, &OldIrql);
    for (Entry = StintBindings.Flink; Entry != &StintBindings && !Taken; Entry = Entry->Flink) {
        PSTINT_BINDING Binding = CONTAINING_RECORD(Entry, STINT_BINDING, Link);

        if (Binding->ReportsDue != 0) {
            Binding->ReportsDue--;
            Taken = TRUE;
        }
    }
    KeReleaseSpinLock(&StintLock, OldIrql);
    return Taken;
}

_Use_decl_annotations_
static VOID
StintThread(PVOID StartContext)
{
    PSTINT_SLOT Slot = (PSTINT_SLOT)StartContext;

    for (;;) {
        KeWaitForSingleObject(&StintWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&StintStop) != 0) {
            break;
        }
        if (StintTakeReport()) {
            Slot->Reports++;
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StintAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSTINT_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSTINT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), STINT_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReportsDue = STINT_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, STINT_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&StintLock, &OldIrql);
    InsertTailList(&StintBindings, &Binding->Link);
    KeReleaseSpinLock(&StintLock, OldIrql);

    KeReleaseSemaphore(&StintWork, IO_NO_INCREMENT, STINT_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
StintDetachProvider(PVOID ClientBindingContext)
{
    PSTINT_BINDING Binding = (PSTINT_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&StintLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&StintLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
StintCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, STINT_POOL_TAG);
}

static VOID
StintAddUp(VOID)
{
    ULONG Index;

    for (Index = 0; Index < STINT_THREADS; Index++) {
        StintReportsMade += StintSlots[Index].Reports;
    }
}

// Ends the first Count threads.
static VOID
StintStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    KeSetEvent(&StintStop, IO_NO_INCREMENT, FALSE);
    for (Index = 0; Index < Count; Index++) {
        KeReleaseSemaphore(&StintWork, IO_NO_INCREMENT, 1, FALSE);
    }

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(StintSlots[Index].Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(StintSlots[Index].Thread);
    }
}

_Must_inspect_result_
static NTSTATUS
StintStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < STINT_THREADS; Index++) {
        StintSlots[Index].Index = Index;
        Status = PsCreateSystemThread(
            &ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, StintThread, &StintSlots[Index]);
        if (!NT_SUCCESS(Status)) {
            StintStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&StintSlots[Index].Thread, NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
StintUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(StintClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(StintClientHandle);
    }

    StintStopThreads(STINT_THREADS);
    StintAddUp();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = StintUnload;
    KeInitializeEvent(&StintStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&StintWork, 0, MAXLONG);
    KeInitializeSpinLock(&StintLock);
    InitializeListHead(&StintBindings);

    Status = StintStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&StintCharacteristics, NULL, &StintClientHandle);
    if (!NT_SUCCESS(Status)) {
        StintStopThreads(STINT_THREADS);
    }

    return Status;
}
