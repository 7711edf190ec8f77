// nmrfuzz: module
// summary: Client whose threads look whether a binding is being detached, and count their call in a second step.
// provides: 0
// consumes: 1
// expect: use-after-detach, bad-call
// rule: R58, R61
// needs: a detach between the test and the count
// interleaving: yes
// hardness: 26 schedules; 1000+ run to completion

// One spin lock guards the list, each binding's count of calls and its Detaching flag. Under it the detach callback chooses
// between STATUS_SUCCESS and STATUS_PENDING, and the end of a call finds out that it was the last one. The memory of a
// binding has a count of references of its own.

#include <ntddk.h>
#include <netioddk.h>

#define GAUGE_POOL_TAG 'guaG'
#define GAUGE_THREADS 2

typedef struct _GAUGE_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Read)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel, _Inout_ PULONG64 Value);
    VOID(NTAPI *Rewind)(_In_ PVOID ProviderBindingContext, _In_ ULONG Channel);
} GAUGE_PROVIDER_DISPATCH, *PGAUGE_PROVIDER_DISPATCH;

typedef struct _GAUGE_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG CallsInProgress;
    ULONG ReadingsWanted; // Calls that the threads still owe this binding.
    BOOLEAN Detaching;
    LONG References; // Of the memory: one until cleanup, one for each thread that has found the binding.
} GAUGE_BINDING, *PGAUGE_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GaugeUnload;
static KSTART_ROUTINE GaugeThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN GaugeAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GaugeDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GaugeCleanupBindingContext;

static const NPIID GaugeNpiId = { 0xd4a50b09, 0x24fe, 0x4c46, { 0x9e, 0x3d, 0x69, 0x70, 0xb3, 0x71, 0xcf, 0xa4 } };
static const NPI_MODULEID GaugeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3412a6f4, 0xb05e, 0x4087, { 0xbb, 0x96, 0x87, 0xe2, 0x44, 0x2a, 0xf5, 0x43 } } }
};

static const NPI_CLIENT_CHARACTERISTICS GaugeCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GaugeAttachProvider,
    GaugeDetachProvider,
    GaugeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GaugeNpiId, &GaugeModuleId, 0, NULL }
};

static HANDLE GaugeClientHandle;
static PKTHREAD GaugeThreads[GAUGE_THREADS];
static KEVENT GaugeStop;
static KSEMAPHORE GaugeWork; // One count for each call owed, and one for each thread to stop.
static KSPIN_LOCK GaugeLock;
_Guarded_by_(GaugeLock) static LIST_ENTRY GaugeBindings;

static VOID
GaugeDereference(_In_ PGAUGE_BINDING Binding)
{
    if (InterlockedDecrement(&Binding->References) == 0) {
        ExFreePoolWithTag(Binding, GAUGE_POOL_TAG);
    }
}

// Takes one owed call and counts it. NULL: nothing is owed (the binding went away before its call, or the count of the
// semaphore was a request to stop).
_Must_inspect_result_
static PGAUGE_BINDING
GaugeBeginCall(VOID)
{
    PGAUGE_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    for (Entry = GaugeBindings.Flink; Entry != &GaugeBindings; Entry = Entry->Flink) {
        PGAUGE_BINDING Binding = CONTAINING_RECORD(Entry, GAUGE_BINDING, Link);

        if (Binding->ReadingsWanted != 0) {
            Binding->ReadingsWanted--;
            InterlockedIncrement(&Binding->References);
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    if (Found != NULL && Found->Detaching) {
        GaugeDereference(Found);
        Found = NULL;
    }

    // Defect: the call is counted in another step than the one that looked at Detaching. In between the detach callback
    // finds no call in progress and returns STATUS_SUCCESS.
    if (Found != NULL) {
        KeAcquireSpinLock(&GaugeLock, &OldIrql);
        Found->CallsInProgress++;
        KeReleaseSpinLock(&GaugeLock, OldIrql);
    }
    return Found;
}

static VOID
GaugeEndCall(_In_ PGAUGE_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    Binding->CallsInProgress--;
    Last = Binding->Detaching && Binding->CallsInProgress == 0;
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
    GaugeDereference(Binding);
}

static VOID
GaugeRead(_In_ PGAUGE_BINDING Binding)
{
    const GAUGE_PROVIDER_DISPATCH *Provider = (const GAUGE_PROVIDER_DISPATCH *)Binding->ProviderDispatch;
    ULONG64 Value = 0;

    if (!NT_SUCCESS(Provider->Read(Binding->ProviderBindingContext, 0, &Value)) || Value != 0) {
        Provider->Rewind(Binding->ProviderBindingContext, 0);
    }
}

_Use_decl_annotations_
static VOID
GaugeThread(PVOID StartContext)
{
    PGAUGE_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&GaugeWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&GaugeStop) != 0) {
            break;
        }

        Binding = GaugeBeginCall();
        if (Binding != NULL) {
            GaugeRead(Binding);
            GaugeEndCall(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GaugeAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGAUGE_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PGAUGE_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GAUGE_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->ReadingsWanted = GAUGE_THREADS;
    Binding->References = 1;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GAUGE_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    InsertTailList(&GaugeBindings, &Binding->Link);
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    KeReleaseSemaphore(&GaugeWork, IO_NO_INCREMENT, GAUGE_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GaugeDetachProvider(PVOID ClientBindingContext)
{
    PGAUGE_BINDING Binding = (PGAUGE_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&GaugeLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->CallsInProgress != 0;
    KeReleaseSpinLock(&GaugeLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GaugeCleanupBindingContext(PVOID ClientBindingContext)
{
    GaugeDereference((PGAUGE_BINDING)ClientBindingContext);
}

// Ends the first Count threads.
static VOID
GaugeStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&GaugeStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&GaugeWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(GaugeThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(GaugeThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
GaugeStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < GAUGE_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GaugeThread, NULL);
        if (!NT_SUCCESS(Status)) {
            GaugeStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GaugeThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
GaugeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait.
    if (NmrDeregisterClient(GaugeClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GaugeClientHandle);
    }

    GaugeStopThreads(GAUGE_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GaugeUnload;

    KeInitializeEvent(&GaugeStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&GaugeWork, 0, MAXLONG);
    KeInitializeSpinLock(&GaugeLock);
    InitializeListHead(&GaugeBindings);

    Status = GaugeStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&GaugeCharacteristics, NULL, &GaugeClientHandle);
    if (!NT_SUCCESS(Status)) {
        GaugeStopThreads(GAUGE_THREADS);
    }

    return Status;
}
