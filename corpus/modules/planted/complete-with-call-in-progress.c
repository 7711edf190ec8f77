// nmrfuzz: module
// summary: Client in which the first call that ends completes a pending detach, not the last one.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R71
// needs: both threads call one provider when it is detached
// interleaving: yes
// hardness: 93 schedules; 1000+ run to completion

// One spin lock guards the list, each binding's count of calls and whether its completion is owed. Under it the detach
// callback chooses between STATUS_SUCCESS and STATUS_PENDING. The memory of a binding has a count of references of its own.

#include <ntddk.h>
#include <netioddk.h>

#define SIPHON_POOL_TAG 'hpiS'
#define SIPHON_THREADS 2

typedef struct _SIPHON_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Read)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel, _Inout_ PULONG64 Value);
    VOID(NTAPI *Rewind)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel);
} SIPHON_PROVIDER_DISPATCH, *PSIPHON_PROVIDER_DISPATCH;

typedef struct _SIPHON_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ReadingsWanted; // Calls that the threads still owe this binding.
    BOOLEAN CompletionOwed;
    LONG References; // Of the memory: one until cleanup, one for each thread that has found the binding.
} SIPHON_BINDING, *PSIPHON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SiphonUnload;
static KSTART_ROUTINE SiphonThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN SiphonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SiphonDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SiphonCleanupBindingContext;

static const NPIID SiphonNpiId = { 0xd94505b1, 0x6b86, 0x4e57, { 0xa0, 0xb1, 0x4d, 0xd5, 0xc6, 0x45, 0x02, 0xab } };
static const NPI_MODULEID SiphonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8db96623, 0x287a, 0x42c1, { 0x9c, 0x15, 0x71, 0x0a, 0xb1, 0xf8, 0xe9, 0xb7 } } }
};

static const NPI_CLIENT_CHARACTERISTICS SiphonCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SiphonAttachProvider,
    SiphonDetachProvider,
    SiphonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SiphonNpiId, &SiphonModuleId, 0, NULL }
};

static HANDLE SiphonClientHandle;
static PKTHREAD SiphonThreads[SIPHON_THREADS];
static KEVENT SiphonStop;
static KSEMAPHORE SiphonWork; // One count for each call owed, and one for each thread to stop.
static KSPIN_LOCK SiphonLock;
_Guarded_by_(SiphonLock) static LIST_ENTRY SiphonBindings;

static VOID
SiphonDereference(_In_ PSIPHON_BINDING Binding)
{
    if (InterlockedDecrement(&Binding->References) == 0) {
        ExFreePoolWithTag(Binding, SIPHON_POOL_TAG);
    }
}

// Takes one owed call and counts it. NULL: nothing is owed (the binding went away before its call, or the count of the
// semaphore was a request to stop).
_Must_inspect_result_
static PSIPHON_BINDING
SiphonBeginCall(VOID)
{
    PSIPHON_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SiphonLock, &OldIrql);
    for (Entry = SiphonBindings.Flink; Entry != &SiphonBindings; Entry = Entry->Flink) {
        PSIPHON_BINDING Binding = CONTAINING_RECORD(Entry, SIPHON_BINDING, Link);

        if (Binding->ReadingsWanted != 0) {
            Binding->ReadingsWanted--;
            Binding->CallsInProgress++;
            InterlockedIncrement(&Binding->References);
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&SiphonLock, OldIrql);
    return Found;
}

static VOID
SiphonEndCall(_In_ PSIPHON_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Completes;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SiphonLock, &OldIrql);
    Binding->CallsInProgress--;
    // Defect: who ends a call first completes the detach, though another thread's call may be in progress.
    Completes = Binding->CompletionOwed;
    Binding->CompletionOwed = FALSE;
    KeReleaseSpinLock(&SiphonLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Completes) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
    SiphonDereference(Binding);
}

static VOID
SiphonRead(_In_ PSIPHON_BINDING Binding)
{
    const SIPHON_PROVIDER_DISPATCH *Provider = (const SIPHON_PROVIDER_DISPATCH *)Binding->ProviderDispatch;
    ULONG64 Value = 0;

    if (!NT_SUCCESS(Provider->Read(Binding->ProviderBindingContext, 0, &Value)) || Value != 0) {
        Provider->Rewind(Binding->ProviderBindingContext, 0);
    }
}

_Use_decl_annotations_
static VOID
SiphonThread(PVOID StartContext)
{
    PSIPHON_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&SiphonWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SiphonStop) != 0) {
            break;
        }

        Binding = SiphonBeginCall();
        if (Binding != NULL) {
            SiphonRead(Binding);
            SiphonEndCall(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SiphonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSIPHON_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PSIPHON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SIPHON_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReadingsWanted = SIPHON_THREADS;
    Binding->References = 1;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, SIPHON_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&SiphonLock, &OldIrql);
    InsertTailList(&SiphonBindings, &Binding->Link);
    KeReleaseSpinLock(&SiphonLock, OldIrql);

    KeReleaseSemaphore(&SiphonWork, IO_NO_INCREMENT, SIPHON_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SiphonDetachProvider(PVOID ClientBindingContext)
{
    PSIPHON_BINDING Binding = (PSIPHON_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SiphonLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Busy = Binding->CallsInProgress != 0;
    Binding->CompletionOwed = Busy;
    KeReleaseSpinLock(&SiphonLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SiphonCleanupBindingContext(PVOID ClientBindingContext)
{
    SiphonDereference((PSIPHON_BINDING)ClientBindingContext);
}

// Ends the first Count threads.
static VOID
SiphonStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&SiphonStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&SiphonWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(SiphonThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(SiphonThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
SiphonStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < SIPHON_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SiphonThread, NULL);
        if (!NT_SUCCESS(Status)) {
            SiphonStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SiphonThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
SiphonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait.
    if (NmrDeregisterClient(SiphonClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(SiphonClientHandle);
    }

    SiphonStopThreads(SIPHON_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SiphonUnload;

    KeInitializeEvent(&SiphonStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&SiphonWork, 0, MAXLONG);
    KeInitializeSpinLock(&SiphonLock);
    InitializeListHead(&SiphonBindings);

    Status = SiphonStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&SiphonCharacteristics, NULL, &SiphonClientHandle);
    if (!NT_SUCCESS(Status)) {
        SiphonStopThreads(SIPHON_THREADS);
    }

    return Status;
}
