// nmrfuzz: module
// summary: Client whose thread puts a binding's state back without the lock that it had dropped for the call.
// provides: 0
// consumes: 1
// expect: deadlock, data-race
// rule: none
// needs: a provider leaves while a call into it returns
// interleaving: yes
// hardness: 3 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define REDSTART_POOL_TAG 'sdeR'

typedef enum _REDSTART_STATE { RedstartIdle, RedstartInUse, RedstartDetaching } REDSTART_STATE;

typedef struct _REDSTART_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    REDSTART_STATE State; // A binding is used by the only thread there is.
    BOOLEAN Wanted; // A sample is owed.
    ULONGLONG LastSample;
} REDSTART_BINDING, *PREDSTART_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RedstartUnload;
static KSTART_ROUTINE RedstartThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN RedstartAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RedstartDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RedstartCleanupBindingContext;

static const NPIID RedstartNpiId = { 0xee640406, 0x6be0, 0x5c59, { 0xa5, 0x3f, 0x94, 0x96, 0x72, 0xb9, 0x30, 0xcf } };
static const NPI_MODULEID RedstartModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5ecb7fc5, 0x8d3a, 0x51f9, { 0xbe, 0x78, 0x6c, 0xf5, 0x04, 0x1b, 0x9b, 0x9f } } }
};

static const NPI_CLIENT_CHARACTERISTICS RedstartCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RedstartAttachProvider,
    RedstartDetachProvider,
    RedstartCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RedstartNpiId, &RedstartModuleId, 0, NULL }
};

static HANDLE RedstartClientHandle;
static PKTHREAD RedstartThreadObject;
static KEVENT RedstartStop;
static KSEMAPHORE RedstartWork; // One count for each sample owed.
static KSPIN_LOCK RedstartLock;
_Guarded_by_(RedstartLock) static LIST_ENTRY RedstartBindings;
static LONG RedstartTraced;

// The number of the next line in the log.
static VOID
RedstartTrace(VOID)
{
    InterlockedIncrement(&RedstartTraced);
}

// Takes a binding that is owed a sample, and counts its use. NULL: there is none.
_Must_inspect_result_
static PREDSTART_BINDING
RedstartBeginUse(VOID)
{
    PREDSTART_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&RedstartLock, &OldIrql);
    for (Entry = RedstartBindings.Flink; Entry != &RedstartBindings; Entry = Entry->Flink) {
        PREDSTART_BINDING Binding = CONTAINING_RECORD(Entry, REDSTART_BINDING, Link);

        if (Binding->Wanted) {
            Binding->Wanted = FALSE;
            Binding->State = RedstartInUse;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&RedstartLock, OldIrql);
    return Found;
}

static VOID
RedstartSample(_In_ PREDSTART_BINDING Binding)
{
    RedstartTrace();
    Binding->LastSample = KeQueryInterruptTime();
    RedstartTrace();
}

static VOID
RedstartEndUse(_In_ PREDSTART_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;

    RedstartTrace();
    Last = Binding->State == RedstartDetaching;
    if (!Last) {
        // Defect: the detach callback may have pended since.
        Binding->State = RedstartIdle;
    }
    RedstartTrace();

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
RedstartThread(PVOID StartContext)
{
    PREDSTART_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&RedstartWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&RedstartStop) != 0) {
            break;
        }

        Binding = RedstartBeginUse();
        if (Binding != NULL) {
            RedstartSample(Binding);
            RedstartEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RedstartAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PREDSTART_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PREDSTART_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), REDSTART_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Wanted = TRUE;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, REDSTART_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&RedstartLock, &OldIrql);
    InsertTailList(&RedstartBindings, &Binding->Link);
    KeReleaseSpinLock(&RedstartLock, OldIrql);

    KeReleaseSemaphore(&RedstartWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RedstartDetachProvider(PVOID ClientBindingContext)
{
    PREDSTART_BINDING Binding = (PREDSTART_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    RedstartTrace();
    KeAcquireSpinLock(&RedstartLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Busy = Binding->State == RedstartInUse;
    if (Busy) {
        Binding->State = RedstartDetaching;
    }
    KeReleaseSpinLock(&RedstartLock, OldIrql);
    RedstartTrace();

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RedstartCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, REDSTART_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
RedstartStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RedstartThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RedstartThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
RedstartStopThread(VOID)
{
    KeSetEvent(&RedstartStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&RedstartWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(RedstartThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(RedstartThreadObject);
}

_Use_decl_annotations_
static VOID
RedstartUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs the thread, so the thread ends after the wait.
    if (NmrDeregisterClient(RedstartClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RedstartClientHandle);
    }

    RedstartStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RedstartUnload;
    KeInitializeEvent(&RedstartStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&RedstartWork, 0, MAXLONG);
    KeInitializeSpinLock(&RedstartLock);
    InitializeListHead(&RedstartBindings);

    Status = RedstartStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&RedstartCharacteristics, NULL, &RedstartClientHandle);
    if (!NT_SUCCESS(Status)) {
        RedstartStopThread();
    }

    return Status;
}
