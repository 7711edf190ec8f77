// nmrfuzz: module
// summary: Client with two system threads that call each provider through its dispatch table; the last call completes a pending detach.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// One spin lock guards the list, each binding's count of calls and its Detaching flag. A call is counted under it, while
// the binding is still in the list, before it is made; under it the detach callback chooses between STATUS_SUCCESS and
// STATUS_PENDING, and the end of a call finds out that it was the last one.

#include <ntddk.h>
#include <netioddk.h>

#define METER_POOL_TAG 'eteM'
#define METER_THREADS 2

typedef struct _METER_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Read)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel, _Inout_ PULONG64 Value);
    VOID(NTAPI *Rewind)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel);
} METER_PROVIDER_DISPATCH, *PMETER_PROVIDER_DISPATCH;

typedef struct _METER_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ReadingsWanted; // Calls that the threads still owe this binding.
    BOOLEAN Detaching;
} METER_BINDING, *PMETER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MeterUnload;
static KSTART_ROUTINE MeterThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN MeterAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MeterDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MeterCleanupBindingContext;

static const NPIID MeterNpiId = { 0xb1d5ef06, 0x3a68, 0x4f0c, { 0x9e, 0x2b, 0x70, 0x14, 0xc8, 0x5d, 0xa6, 0x31 } };
static const NPI_MODULEID MeterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x27c90d4a, 0xe15f, 0x4b83, { 0x85, 0x6c, 0x0f, 0x39, 0xda, 0x72, 0x1e, 0xb4 } } }
};

static const NPI_CLIENT_CHARACTERISTICS MeterCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MeterAttachProvider,
    MeterDetachProvider,
    MeterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MeterNpiId, &MeterModuleId, 0, NULL }
};

static HANDLE MeterClientHandle;
static PKTHREAD MeterThreads[METER_THREADS];
static KEVENT MeterStop;
static KSEMAPHORE MeterWork; // One count for each call owed, and one for each thread to stop.
static KSPIN_LOCK MeterLock;
_Guarded_by_(MeterLock) static LIST_ENTRY MeterBindings;

// Takes one owed call and counts it. NULL: nothing is owed (the binding went away before its call, or the count of the
// semaphore was a request to stop).
_Must_inspect_result_
static PMETER_BINDING
MeterBeginCall(VOID)
{
    PMETER_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MeterLock, &OldIrql);
    for (Entry = MeterBindings.Flink; Entry != &MeterBindings; Entry = Entry->Flink) {
        PMETER_BINDING Binding = CONTAINING_RECORD(Entry, METER_BINDING, Link);

        if (Binding->ReadingsWanted != 0) {
            Binding->ReadingsWanted--;
            Binding->CallsInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&MeterLock, OldIrql);
    return Found;
}

static VOID
MeterEndCall(_In_ PMETER_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MeterLock, &OldIrql);
    Binding->CallsInProgress--;
    Last = Binding->Detaching && Binding->CallsInProgress == 0;
    KeReleaseSpinLock(&MeterLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

static VOID
MeterRead(_In_ PMETER_BINDING Binding)
{
    const METER_PROVIDER_DISPATCH *Provider = (const METER_PROVIDER_DISPATCH *)Binding->ProviderDispatch;
    ULONG64 Value = 0;

    if (!NT_SUCCESS(Provider->Read(Binding->ProviderBindingContext, 0, &Value)) || Value != 0) {
        Provider->Rewind(Binding->ProviderBindingContext, 0);
    }
}

_Use_decl_annotations_
static VOID
MeterThread(PVOID StartContext)
{
    PMETER_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&MeterWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&MeterStop) != 0) {
            break;
        }

        Binding = MeterBeginCall();
        if (Binding != NULL) {
            MeterRead(Binding);
            MeterEndCall(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MeterAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMETER_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PMETER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), METER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReadingsWanted = METER_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, METER_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&MeterLock, &OldIrql);
    InsertTailList(&MeterBindings, &Binding->Link);
    KeReleaseSpinLock(&MeterLock, OldIrql);

    KeReleaseSemaphore(&MeterWork, IO_NO_INCREMENT, METER_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MeterDetachProvider(PVOID ClientBindingContext)
{
    PMETER_BINDING Binding = (PMETER_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MeterLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->CallsInProgress != 0;
    KeReleaseSpinLock(&MeterLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MeterCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, METER_POOL_TAG);
}

// Ends the first Count threads.
static VOID
MeterStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&MeterStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&MeterWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(MeterThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(MeterThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
MeterStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < METER_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, MeterThread, NULL);
        if (!NT_SUCCESS(Status)) {
            MeterStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&MeterThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
MeterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait.
    if (NmrDeregisterClient(MeterClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MeterClientHandle);
    }

    MeterStopThreads(METER_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MeterUnload;

    KeInitializeEvent(&MeterStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&MeterWork, 0, MAXLONG);
    KeInitializeSpinLock(&MeterLock);
    InitializeListHead(&MeterBindings);

    Status = MeterStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&MeterCharacteristics, NULL, &MeterClientHandle);
    if (!NT_SUCCESS(Status)) {
        MeterStopThreads(METER_THREADS);
    }

    return Status;
}
