// nmrfuzz: module
// summary: Client that counts the uses of all bindings together; a detach may pend for a use that does not complete it.
// provides: 0
// consumes: 1
// expect: deadlock
// rule: R68, R77
// needs: one provider is detached while another one is in use
// interleaving: yes
// hardness: 155 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SENTINEL_POOL_TAG 'tneS'
#define SENTINEL_THREADS 2

typedef struct _SENTINEL_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG64 LastSample;
} SENTINEL_BINDING, *PSENTINEL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SentinelUnload;
static KSTART_ROUTINE SentinelThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN SentinelAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SentinelDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SentinelCleanupBindingContext;

static const NPIID SentinelNpiId = { 0xad1fccc8, 0x8731, 0x52b6, { 0x97, 0x51, 0xec, 0x8d, 0x9f, 0xd1, 0x8a, 0x45 } };
static const NPI_MODULEID SentinelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x463a528e, 0x91d5, 0x5ff2, { 0x93, 0xf8, 0x2b, 0x2e, 0x23, 0x41, 0x61, 0xd3 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SentinelCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SentinelAttachProvider,
    SentinelDetachProvider,
    SentinelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SentinelNpiId, &SentinelModuleId, 0, NULL }
};

static HANDLE SentinelClientHandle;
static PKTHREAD SentinelThreads[SENTINEL_THREADS];
static KEVENT SentinelStop;
static KSEMAPHORE SentinelWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK SentinelLock;
_Guarded_by_(SentinelLock) static LIST_ENTRY SentinelBindings;
_Guarded_by_(SentinelLock) static ULONG SentinelUsesInProgress;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PSENTINEL_BINDING
SentinelBeginUse(VOID)
{
    PSENTINEL_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SentinelLock, &OldIrql);
    for (Entry = SentinelBindings.Flink; Entry != &SentinelBindings; Entry = Entry->Flink) {
        PSENTINEL_BINDING Binding = CONTAINING_RECORD(Entry, SENTINEL_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            SentinelUsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&SentinelLock, OldIrql);
    return Found;
}

static VOID
SentinelEndUse(_In_ PSENTINEL_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SentinelLock, &OldIrql);
    SentinelUsesInProgress--;
    Last = Binding->Detaching && SentinelUsesInProgress == 0;
    KeReleaseSpinLock(&SentinelLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
SentinelThread(PVOID StartContext)
{
    PSENTINEL_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&SentinelWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SentinelStop) != 0) {
            break;
        }

        Binding = SentinelBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            SentinelEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SentinelAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSENTINEL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSENTINEL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SENTINEL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = SENTINEL_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SENTINEL_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&SentinelLock, &OldIrql);
    InsertTailList(&SentinelBindings, &Binding->Link);
    KeReleaseSpinLock(&SentinelLock, OldIrql);

    KeReleaseSemaphore(&SentinelWork, IO_NO_INCREMENT, SENTINEL_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SentinelDetachProvider(PVOID ClientBindingContext)
{
    PSENTINEL_BINDING Binding = (PSENTINEL_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SentinelLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    // Defect: the use that ends last completes its own binding, which need not be this one.
    Busy = SentinelUsesInProgress != 0;
    KeReleaseSpinLock(&SentinelLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SentinelCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, SENTINEL_POOL_TAG);
}

// Ends the first Count threads.
static VOID
SentinelStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&SentinelStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&SentinelWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(SentinelThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(SentinelThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
SentinelStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < SENTINEL_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SentinelThread, NULL);
        if (!NT_SUCCESS(Status)) {
            SentinelStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SentinelThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
SentinelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in SentinelEndUse.
    if (NmrDeregisterClient(SentinelClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SentinelClientHandle);
    }

    SentinelStopThreads(SENTINEL_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SentinelUnload;

    KeInitializeEvent(&SentinelStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&SentinelWork, 0, MAXLONG);
    KeInitializeSpinLock(&SentinelLock);
    InitializeListHead(&SentinelBindings);

    Status = SentinelStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&SentinelCharacteristics, NULL, &SentinelClientHandle);
    if (!NT_SUCCESS(Status)) {
        SentinelStopThreads(SENTINEL_THREADS);
    }

    return Status;
}
