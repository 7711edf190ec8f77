// nmrfuzz: module
// summary: Client with a fixed table of bindings whose two finishing uses can both find the count at zero.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle
// rule: R69, R70, R77
// needs: two uses of one binding end together while its detach is pending
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CENSUS_THREADS 2
#define CENSUS_MAX_BINDINGS 16

typedef struct _CENSUS_BINDING {
    BOOLEAN Taken;
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} CENSUS_BINDING, *PCENSUS_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CensusUnload;
static KSTART_ROUTINE CensusThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN CensusAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CensusDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CensusCleanupBindingContext;

static const NPIID CensusNpiId = { 0xfd275309, 0x3b0a, 0x567c, { 0xa8, 0x6c, 0x3e, 0xa4, 0x0d, 0x90, 0x2c, 0x56 } };
static const NPI_MODULEID CensusModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4c1ac1c8, 0x361c, 0x5e8d, { 0x87, 0xd1, 0xb7, 0xee, 0xaa, 0x85, 0xd9, 0x2f } } }
};

static const NPI_CLIENT_CHARACTERISTICS CensusCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CensusAttachProvider,
    CensusDetachProvider,
    CensusCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CensusNpiId, &CensusModuleId, 0, NULL }
};

static HANDLE CensusClientHandle;
static PKTHREAD CensusThreads[CENSUS_THREADS];
static KEVENT CensusStop;
static KSEMAPHORE CensusWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK CensusLock;
_Guarded_by_(CensusLock) static LIST_ENTRY CensusBindings;
_Guarded_by_(CensusLock) static CENSUS_BINDING CensusTable[CENSUS_MAX_BINDINGS];

_Must_inspect_result_
static PCENSUS_BINDING
CensusTakeSlot(_In_ HANDLE BindingHandle)
{
    PCENSUS_BINDING Slot = NULL;
    ULONG Index;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CensusLock, &OldIrql);
    for (Index = 0; Index < CENSUS_MAX_BINDINGS && Slot == NULL; Index++) {
        if (!CensusTable[Index].Taken) {
            Slot = &CensusTable[Index];
            Slot->Taken = TRUE;
            Slot->BindingHandle = BindingHandle;
            Slot->UsesInProgress = 0;
            Slot->SamplesWanted = CENSUS_THREADS;
            Slot->Detaching = FALSE;
        }
    }
    KeReleaseSpinLock(&CensusLock, OldIrql);
    return Slot;
}

static VOID
CensusFreeSlot(_In_ PCENSUS_BINDING Slot)
{
    KIRQL OldIrql;

    KeAcquireSpinLock(&CensusLock, &OldIrql);
    Slot->Taken = FALSE;
    KeReleaseSpinLock(&CensusLock, OldIrql);
}

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PCENSUS_BINDING
CensusBeginUse(VOID)
{
    PCENSUS_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CensusLock, &OldIrql);
    for (Entry = CensusBindings.Flink; Entry != &CensusBindings; Entry = Entry->Flink) {
        PCENSUS_BINDING Binding = CONTAINING_RECORD(Entry, CENSUS_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&CensusLock, OldIrql);
    return Found;
}

static VOID
CensusEndUse(_In_ PCENSUS_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CensusLock, &OldIrql);
    Binding->UsesInProgress--;
    KeReleaseSpinLock(&CensusLock, OldIrql);

    // Defect: counted down and looked at in two steps, so two finishing uses can both find zero.
    KeAcquireSpinLock(&CensusLock, &OldIrql);
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&CensusLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
CensusThread(PVOID StartContext)
{
    PCENSUS_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&CensusWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&CensusStop) != 0) {
            break;
        }

        Binding = CensusBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            CensusEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CensusAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCENSUS_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = CensusTakeSlot(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        CensusFreeSlot(Binding);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&CensusLock, &OldIrql);
    InsertTailList(&CensusBindings, &Binding->Link);
    KeReleaseSpinLock(&CensusLock, OldIrql);

    KeReleaseSemaphore(&CensusWork, IO_NO_INCREMENT, CENSUS_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CensusDetachProvider(PVOID ClientBindingContext)
{
    PCENSUS_BINDING Binding = (PCENSUS_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CensusLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&CensusLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CensusCleanupBindingContext(PVOID ClientBindingContext)
{
    CensusFreeSlot((PCENSUS_BINDING)ClientBindingContext);
}

// Ends the first Count threads.
static VOID
CensusStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&CensusStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&CensusWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(CensusThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(CensusThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
CensusStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < CENSUS_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CensusThread, NULL);
        if (!NT_SUCCESS(Status)) {
            CensusStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CensusThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
CensusUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in CensusEndUse.
    if (NmrDeregisterClient(CensusClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CensusClientHandle);
    }

    CensusStopThreads(CENSUS_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CensusUnload;

    KeInitializeEvent(&CensusStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&CensusWork, 0, MAXLONG);
    KeInitializeSpinLock(&CensusLock);
    InitializeListHead(&CensusBindings);

    Status = CensusStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&CensusCharacteristics, NULL, &CensusClientHandle);
    if (!NT_SUCCESS(Status)) {
        CensusStopThreads(CENSUS_THREADS);
    }

    return Status;
}
