// nmrfuzz: module
// summary: Client that keeps one provider context for all bindings, the latest, and passes it to every provider.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R44, R63
// needs: two providers attached
// interleaving: no
// hardness: 97 schedules; 1000+ run to completion

// One spin lock guards the list, each binding's count of calls and its Detaching flag. A call is counted under it, while
// the binding is still in the list, before it is made; under it the detach callback chooses between STATUS_SUCCESS and
// STATUS_PENDING, and the end of a call finds out that it was the last one.

#include <ntddk.h>
#include <netioddk.h>

#define ROUTER_POOL_TAG 'tuoR'
#define ROUTER_THREADS 2

typedef struct _ROUTER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Read)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel, _Inout_ PULONG64 Value);
    VOID(NTAPI *Rewind)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel);
} ROUTER_PROVIDER_DISPATCH, *PROUTER_PROVIDER_DISPATCH;

typedef struct _ROUTER_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    CONST VOID *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ReadingsWanted; // Calls that the threads still owe this binding.
    BOOLEAN Detaching;
} ROUTER_BINDING, *PROUTER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RouterUnload;
static KSTART_ROUTINE RouterThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN RouterAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RouterDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RouterCleanupBindingContext;

static const NPIID RouterNpiId = { 0x07022306, 0x7c60, 0x45b6, { 0x9b, 0x35, 0x52, 0xea, 0x65, 0x3b, 0x44, 0x7e } };
static const NPI_MODULEID RouterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd6ff68f8, 0x3088, 0x4e1e, { 0x8a, 0xbf, 0x0c, 0x7d, 0xb9, 0xc3, 0x2b, 0xce } } }
};

static const NPI_CLIENT_CHARACTERISTICS RouterCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RouterAttachProvider,
    RouterDetachProvider,
    RouterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RouterNpiId, &RouterModuleId, 0, NULL }
};

static HANDLE RouterClientHandle;
static PKTHREAD RouterThreads[ROUTER_THREADS];
static KEVENT RouterStop;
static KSEMAPHORE RouterWork; // One count for each call owed, and one for each thread to stop.
static KSPIN_LOCK RouterLock;
_Guarded_by_(RouterLock) static LIST_ENTRY RouterBindings;
_Guarded_by_(RouterLock) static PVOID RouterProviderContext; // Of the latest binding.

// Takes one owed call and counts it. NULL: nothing is owed (the binding went away before its call, or the count of the
// semaphore was a request to stop).
_Must_inspect_result_
static PROUTER_BINDING
RouterBeginCall(VOID)
{
    PROUTER_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RouterLock, &OldIrql);
    for (Entry = RouterBindings.Flink; Entry != &RouterBindings; Entry = Entry->Flink) {
        PROUTER_BINDING Binding = CONTAINING_RECORD(Entry, ROUTER_BINDING, Link);

        if (Binding->ReadingsWanted != 0) {
            Binding->ReadingsWanted--;
            Binding->CallsInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&RouterLock, OldIrql);
    return Found;
}

static VOID
RouterEndCall(_In_ PROUTER_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RouterLock, &OldIrql);
    Binding->CallsInProgress--;
    Last = Binding->Detaching && Binding->CallsInProgress == 0;
    KeReleaseSpinLock(&RouterLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
RouterRead(_In_ PROUTER_BINDING Binding)
{
    const ROUTER_PROVIDER_DISPATCH *Provider = (const ROUTER_PROVIDER_DISPATCH *)Binding->ProviderDispatch;
    PVOID ProviderContext;
    ULONG64 Value = 0;
    KIRQL OldIrql;

    // Defect: this is the context of the latest binding, which need not be the one that is called.
    KeAcquireSpinLock(&RouterLock, &OldIrql);
    ProviderContext = RouterProviderContext;
    KeReleaseSpinLock(&RouterLock, OldIrql);

    if (!NT_SUCCESS(Provider->Read(ProviderContext, 0, &Value)) || Value != 0) {
        Provider->Rewind(ProviderContext, 0);
    }
}

_Use_decl_annotations_
static VOID
RouterThread(PVOID StartContext)
{
    PROUTER_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&RouterWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&RouterStop) != 0) {
            break;
        }

        Binding = RouterBeginCall();
        if (Binding != NULL) {
            RouterRead(Binding);
            RouterEndCall(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RouterAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PROUTER_BINDING Binding;
    PVOID ProviderContext;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PROUTER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), ROUTER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReadingsWanted = ROUTER_THREADS;

    Status =
        NmrClientAttachProvider(NmrBindingHandle, Binding, NULL, &ProviderContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, ROUTER_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&RouterLock, &OldIrql);
    InsertTailList(&RouterBindings, &Binding->Link);
    RouterProviderContext = ProviderContext;
    KeReleaseSpinLock(&RouterLock, OldIrql);

    KeReleaseSemaphore(&RouterWork, IO_NO_INCREMENT, ROUTER_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RouterDetachProvider(PVOID ClientBindingContext)
{
    PROUTER_BINDING Binding = (PROUTER_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RouterLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->CallsInProgress != 0;
    KeReleaseSpinLock(&RouterLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RouterCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, ROUTER_POOL_TAG);
}

// Ends the first Count threads.
static VOID
RouterStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&RouterStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&RouterWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(RouterThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(RouterThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
RouterStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < ROUTER_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RouterThread, NULL);
        if (!NT_SUCCESS(Status)) {
            RouterStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RouterThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
RouterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait.
    if (NmrDeregisterClient(RouterClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RouterClientHandle);
    }

    RouterStopThreads(ROUTER_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RouterUnload;

    KeInitializeEvent(&RouterStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&RouterWork, 0, MAXLONG);
    KeInitializeSpinLock(&RouterLock);
    InitializeListHead(&RouterBindings);

    Status = RouterStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&RouterCharacteristics, NULL, &RouterClientHandle);
    if (!NT_SUCCESS(Status)) {
        RouterStopThreads(ROUTER_THREADS);
    }

    return Status;
}
