// nmrfuzz: module
// summary: Client whose threads count in a slot each, which Unload adds up before they have ended.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: a thread still counts while Unload adds up
// interleaving: yes
// hardness: 116 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FULMAR_POOL_TAG 'mluF'
#define FULMAR_THREADS 2

typedef struct _FULMAR_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ReportsDue;
} FULMAR_BINDING, *PFULMAR_BINDING;

typedef struct _FULMAR_SLOT {
    PKTHREAD Thread;
    ULONG Index;
    ULONG Reports;
} FULMAR_SLOT, *PFULMAR_SLOT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FulmarUnload;
static KSTART_ROUTINE FulmarThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN FulmarAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN FulmarDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN FulmarCleanupBindingContext;

static const NPIID FulmarNpiId = { 0xad34325c, 0x6b07, 0x559e, { 0xbf, 0x2a, 0x70, 0x71, 0x33, 0xe0, 0x79, 0x39 } };
static const NPI_MODULEID FulmarModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x55c99ac0, 0x3c2e, 0x520f, { 0x9b, 0x05, 0x2b, 0xce, 0x9e, 0x1c, 0xc3, 0x34 } } }
};

static const NPI_CLIENT_CHARACTERISTICS FulmarCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    FulmarAttachProvider,
    FulmarDetachProvider,
    FulmarCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &FulmarNpiId, &FulmarModuleId, 0, NULL }
};

static HANDLE FulmarClientHandle;
static FULMAR_SLOT FulmarSlots[FULMAR_THREADS];
static KEVENT FulmarStop;
static KSEMAPHORE FulmarWork; // One count for each report that is due, and for each thread that shall end.
static KSPIN_LOCK FulmarLock;
_Guarded_by_(FulmarLock) static LIST_ENTRY FulmarBindings;
static ULONG FulmarReportsMade;
static LONG FulmarTraced;

// The number of the next line in the log.
static VOID
FulmarTrace(VOID)
{
    InterlockedIncrement(&FulmarTraced);
}

// Takes one report that is due. FALSE: there is none.
static BOOLEAN
FulmarTakeReport(VOID)
{
    BOOLEAN Taken = FALSE;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FulmarLock, &OldIrql);
    for (Entry = FulmarBindings.Flink; Entry != &FulmarBindings && !Taken; Entry = Entry->Flink) {
        PFULMAR_BINDING Binding = CONTAINING_RECORD(Entry, FULMAR_BINDING, Link);

        if (Binding->ReportsDue != 0) {
            Binding->ReportsDue--;
            Taken = TRUE;
        }
    }
    KeReleaseSpinLock(&FulmarLock, OldIrql);
    return Taken;
}

_Use_decl_annotations_
static VOID
FulmarThread(PVOID StartContext)
{
    PFULMAR_SLOT Slot = (PFULMAR_SLOT)StartContext;

    for (;;) {
        KeWaitForSingleObject(&FulmarWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&FulmarStop) != 0) {
            break;
        }
        FulmarTrace();
        if (FulmarTakeReport()) {
            Slot->Reports++;
        }
        FulmarTrace();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FulmarAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PFULMAR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PFULMAR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), FULMAR_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReportsDue = FULMAR_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, FULMAR_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&FulmarLock, &OldIrql);
    InsertTailList(&FulmarBindings, &Binding->Link);
    KeReleaseSpinLock(&FulmarLock, OldIrql);

    KeReleaseSemaphore(&FulmarWork, IO_NO_INCREMENT, FULMAR_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FulmarDetachProvider(PVOID ClientBindingContext)
{
    PFULMAR_BINDING Binding = (PFULMAR_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&FulmarLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&FulmarLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FulmarCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, FULMAR_POOL_TAG);
}

static VOID
FulmarAddUp(VOID)
{
    ULONG Index;

    FulmarTrace();
    for (Index = 0; Index < FULMAR_THREADS; Index++) {
        FulmarReportsMade += FulmarSlots[Index].Reports;
    }
}

// Ends the first Count threads.
static VOID
FulmarStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    KeSetEvent(&FulmarStop, IO_NO_INCREMENT, FALSE);
    for (Index = 0; Index < Count; Index++) {
        KeReleaseSemaphore(&FulmarWork, IO_NO_INCREMENT, 1, FALSE);
    }

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(FulmarSlots[Index].Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(FulmarSlots[Index].Thread);
    }
}

_Must_inspect_result_
static NTSTATUS
FulmarStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < FULMAR_THREADS; Index++) {
        FulmarSlots[Index].Index = Index;
        Status = PsCreateSystemThread(
            &ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, FulmarThread, &FulmarSlots[Index]);
        if (!NT_SUCCESS(Status)) {
            FulmarStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&FulmarSlots[Index].Thread, NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
FulmarUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(FulmarClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(FulmarClientHandle);
    }

    // Defect: nothing says that the threads are through with their last report.
    FulmarAddUp();
    FulmarStopThreads(FULMAR_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FulmarUnload;
    KeInitializeEvent(&FulmarStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&FulmarWork, 0, MAXLONG);
    KeInitializeSpinLock(&FulmarLock);
    InitializeListHead(&FulmarBindings);

    Status = FulmarStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&FulmarCharacteristics, NULL, &FulmarClientHandle);
    if (!NT_SUCCESS(Status)) {
        FulmarStopThreads(FULMAR_THREADS);
    }

    return Status;
}
