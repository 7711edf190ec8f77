// nmrfuzz: module
// summary: Client that closes its thread handles at unload but not when DriverEntry fails.
// provides: 0
// consumes: 1
// expect: resource-leak
// rule: R26, R109
// needs: registration fails, or creation of the second thread
// interleaving: no
// hardness: 57 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PICKET_POOL_TAG 'kciP'
#define PICKET_THREADS 2

typedef struct _PICKET_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} PICKET_BINDING, *PPICKET_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PicketUnload;
static KSTART_ROUTINE PicketThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN PicketAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PicketDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PicketCleanupBindingContext;

static const NPIID PicketNpiId = { 0xeb852de0, 0xe102, 0x58d6, { 0xa3, 0xca, 0xdb, 0x47, 0x61, 0xf2, 0xaa, 0x0d } };
static const NPI_MODULEID PicketModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb5ddd208, 0x12ae, 0x5802, { 0xb8, 0x12, 0x9a, 0x73, 0xc5, 0x48, 0x29, 0x8a } } }
};

static const NPI_CLIENT_CHARACTERISTICS PicketCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PicketAttachProvider,
    PicketDetachProvider,
    PicketCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PicketNpiId, &PicketModuleId, 0, NULL }
};

static HANDLE PicketClientHandle;
static HANDLE PicketThreadHandles[PICKET_THREADS];
static PKTHREAD PicketThreads[PICKET_THREADS];
static KEVENT PicketStop;
static KSEMAPHORE PicketWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK PicketLock;
_Guarded_by_(PicketLock) static LIST_ENTRY PicketBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PPICKET_BINDING
PicketBeginUse(VOID)
{
    PPICKET_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PicketLock, &OldIrql);
    for (Entry = PicketBindings.Flink; Entry != &PicketBindings; Entry = Entry->Flink) {
        PPICKET_BINDING Binding = CONTAINING_RECORD(Entry, PICKET_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&PicketLock, OldIrql);
    return Found;
}

static VOID
PicketEndUse(_In_ PPICKET_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PicketLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&PicketLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
PicketThread(PVOID StartContext)
{
    PPICKET_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&PicketWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&PicketStop) != 0) {
            break;
        }

        Binding = PicketBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            PicketEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PicketAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPICKET_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPICKET_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PICKET_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = PICKET_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PICKET_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&PicketLock, &OldIrql);
    InsertTailList(&PicketBindings, &Binding->Link);
    KeReleaseSpinLock(&PicketLock, OldIrql);

    KeReleaseSemaphore(&PicketWork, IO_NO_INCREMENT, PICKET_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PicketDetachProvider(PVOID ClientBindingContext)
{
    PPICKET_BINDING Binding = (PPICKET_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&PicketLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&PicketLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PicketCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PICKET_POOL_TAG);
}

// Ends the first Count threads.
static VOID
PicketStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&PicketStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&PicketWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(PicketThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(PicketThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
PicketStartThreads(VOID)
{
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < PICKET_THREADS; Index++) {
        Status = PsCreateSystemThread(
            &PicketThreadHandles[Index], THREAD_ALL_ACCESS, NULL, NULL, NULL, PicketThread, NULL);
        if (!NT_SUCCESS(Status)) {
            PicketStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            PicketThreadHandles[Index], THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PicketThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
PicketUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG Index;

    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in PicketEndUse.
    if (NmrDeregisterClient(PicketClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PicketClientHandle);
    }

    PicketStopThreads(PICKET_THREADS);

    // Defect: the handles are closed only here. PicketStopThreads is what a failing DriverEntry calls.
    for (Index = 0; Index < PICKET_THREADS; Index++) {
        ZwClose(PicketThreadHandles[Index]);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PicketUnload;

    KeInitializeEvent(&PicketStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&PicketWork, 0, MAXLONG);
    KeInitializeSpinLock(&PicketLock);
    InitializeListHead(&PicketBindings);

    Status = PicketStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&PicketCharacteristics, NULL, &PicketClientHandle);
    if (!NT_SUCCESS(Status)) {
        PicketStopThreads(PICKET_THREADS);
    }

    return Status;
}
