// nmrfuzz: module
// summary: Client whose detach callback hides the binding from its threads and takes that for the end of their calls.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R66, R67
// needs: a detach while a thread calls the provider
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

// One spin lock guards the list and what threads owe each binding. A binding that is detached is taken out of the list, so
// that no thread finds it any more; its memory goes with its last reference.

#include <ntddk.h>
#include <netioddk.h>

#define VALVE_POOL_TAG 'vlaV'
#define VALVE_THREADS 2

typedef struct _VALVE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Read)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel, _Inout_ PULONG64 Value);
    VOID(NTAPI *Rewind)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel);
} VALVE_PROVIDER_DISPATCH, *PVALVE_PROVIDER_DISPATCH;

typedef struct _VALVE_BINDING {
    LIST_ENTRY Link;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG ReadingsWanted; // Calls that the threads still owe this binding.
    LONG References; // Of the memory: one until cleanup, one for each thread that has found the binding.
} VALVE_BINDING, *PVALVE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ValveUnload;
static KSTART_ROUTINE ValveThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN ValveAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ValveDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ValveCleanupBindingContext;

static const NPIID ValveNpiId = { 0xad602a22, 0xcce6, 0x4d7d, { 0x99, 0x53, 0x40, 0x24, 0x58, 0x9a, 0x5f, 0xb0 } };
static const NPI_MODULEID ValveModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x0fb38055, 0x3ed3, 0x444d, { 0xa1, 0x2e, 0x32, 0xa3, 0xb2, 0x34, 0x6c, 0x42 } } }
};

static const NPI_CLIENT_CHARACTERISTICS ValveCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ValveAttachProvider,
    ValveDetachProvider,
    ValveCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ValveNpiId, &ValveModuleId, 0, NULL }
};

static HANDLE ValveClientHandle;
static PKTHREAD ValveThreads[VALVE_THREADS];
static KEVENT ValveStop;
static KSEMAPHORE ValveWork; // One count for each call owed, and one for each thread to stop.
static KSPIN_LOCK ValveLock;
_Guarded_by_(ValveLock) static LIST_ENTRY ValveBindings;

static VOID
ValveDereference(_In_ PVALVE_BINDING Binding)
{
    if (InterlockedDecrement(&Binding->References) == 0) {
        ExFreePoolWithTag(Binding, VALVE_POOL_TAG);
    }
}

// Takes one owed call and references its binding. NULL: nothing is owed (the binding went away before its call, or the count of the
// semaphore was a request to stop).
_Must_inspect_result_
static PVALVE_BINDING
ValveBeginCall(VOID)
{
    PVALVE_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ValveLock, &OldIrql);
    for (Entry = ValveBindings.Flink; Entry != &ValveBindings; Entry = Entry->Flink) {
        PVALVE_BINDING Binding = CONTAINING_RECORD(Entry, VALVE_BINDING, Link);

        if (Binding->ReadingsWanted != 0) {
            Binding->ReadingsWanted--;
            InterlockedIncrement(&Binding->References);
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&ValveLock, OldIrql);
    return Found;
}

static VOID
ValveRead(_In_ PVALVE_BINDING Binding)
{
    const VALVE_PROVIDER_DISPATCH *Provider = (const VALVE_PROVIDER_DISPATCH *)Binding->ProviderDispatch;
    ULONG64 Value = 0;

    if (!NT_SUCCESS(Provider->Read(Binding->ProviderBindingContext, 0, &Value)) || Value != 0) {
        Provider->Rewind(Binding->ProviderBindingContext, 0);
    }
}

_Use_decl_annotations_
static VOID
ValveThread(PVOID StartContext)
{
    PVALVE_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&ValveWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&ValveStop) != 0) {
            break;
        }

        Binding = ValveBeginCall();
        if (Binding != NULL) {
            ValveRead(Binding);
            ValveDereference(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ValveAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PVALVE_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PVALVE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), VALVE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->ReadingsWanted = VALVE_THREADS;
    Binding->References = 1;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, VALVE_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&ValveLock, &OldIrql);
    InsertTailList(&ValveBindings, &Binding->Link);
    KeReleaseSpinLock(&ValveLock, OldIrql);

    KeReleaseSemaphore(&ValveWork, IO_NO_INCREMENT, VALVE_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ValveDetachProvider(PVOID ClientBindingContext)
{
    PVALVE_BINDING Binding = (PVALVE_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ValveLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&ValveLock, OldIrql);

    // Defect: a thread that found the binding before may be in a call to the provider, or about to make one.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ValveCleanupBindingContext(PVOID ClientBindingContext)
{
    ValveDereference((PVALVE_BINDING)ClientBindingContext);
}

// Ends the first Count threads.
static VOID
ValveStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&ValveStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&ValveWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(ValveThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(ValveThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
ValveStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < VALVE_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, ValveThread, NULL);
        if (!NT_SUCCESS(Status)) {
            ValveStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&ValveThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
ValveUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(ValveClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ValveClientHandle);
    }

    ValveStopThreads(VALVE_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ValveUnload;

    KeInitializeEvent(&ValveStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&ValveWork, 0, MAXLONG);
    KeInitializeSpinLock(&ValveLock);
    InitializeListHead(&ValveBindings);

    Status = ValveStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&ValveCharacteristics, NULL, &ValveClientHandle);
    if (!NT_SUCCESS(Status)) {
        ValveStopThreads(VALVE_THREADS);
    }

    return Status;
}
