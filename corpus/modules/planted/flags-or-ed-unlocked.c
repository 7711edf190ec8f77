// nmrfuzz: module
// summary: Client whose thread sets a flag of a binding without the lock under which the detach callback sets another.
// provides: 0
// consumes: 1
// expect: deadlock, data-race
// rule: none
// needs: a provider leaves while the thread sets its flag
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define WHIMBREL_POOL_TAG 'mihW'
#define WHIMBREL_FLAG_SAMPLED 0x1UL
#define WHIMBREL_FLAG_DETACHING 0x2UL

typedef struct _WHIMBREL_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress; // under WhimbrelLock
    ULONG Flags;
    BOOLEAN Wanted; // A sample is owed.
    ULONGLONG LastSample;
} WHIMBREL_BINDING, *PWHIMBREL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WhimbrelUnload;
static KSTART_ROUTINE WhimbrelThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN WhimbrelAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN WhimbrelDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN WhimbrelCleanupBindingContext;

static const NPIID WhimbrelNpiId = { 0xde119c02, 0x562f, 0x5315, { 0xa9, 0xc4, 0xc6, 0xfd, 0x54, 0xc7, 0xa7, 0x37 } };
static const NPI_MODULEID WhimbrelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xe3583251, 0xba9d, 0x5d85, { 0xaa, 0xe2, 0x16, 0xf4, 0x64, 0xb9, 0x32, 0x35 } } }
};

static const NPI_CLIENT_CHARACTERISTICS WhimbrelCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    WhimbrelAttachProvider,
    WhimbrelDetachProvider,
    WhimbrelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WhimbrelNpiId, &WhimbrelModuleId, 0, NULL }
};

static HANDLE WhimbrelClientHandle;
static PKTHREAD WhimbrelThreadObject;
static KEVENT WhimbrelStop;
static KSEMAPHORE WhimbrelWork; // One count for each sample owed.
static KSPIN_LOCK WhimbrelLock;
_Guarded_by_(WhimbrelLock) static LIST_ENTRY WhimbrelBindings;
static LONG WhimbrelTraced;

// The number of the next line in the log.
static VOID
WhimbrelTrace(VOID)
{
    InterlockedIncrement(&WhimbrelTraced);
}

// Takes a binding that is owed a sample, and counts its use. NULL: there is none.
_Must_inspect_result_
static PWHIMBREL_BINDING
WhimbrelBeginUse(VOID)
{
    PWHIMBREL_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WhimbrelLock, &OldIrql);
    for (Entry = WhimbrelBindings.Flink; Entry != &WhimbrelBindings; Entry = Entry->Flink) {
        PWHIMBREL_BINDING Binding = CONTAINING_RECORD(Entry, WHIMBREL_BINDING, Link);

        if (Binding->Wanted) {
            Binding->Wanted = FALSE;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&WhimbrelLock, OldIrql);
    return Found;
}

static VOID
WhimbrelSample(_In_ PWHIMBREL_BINDING Binding)
{
    WhimbrelTrace();
    Binding->LastSample = KeQueryInterruptTime();

    // Defect: the detach callback may set its flag between the load and the store of this.
    Binding->Flags |= WHIMBREL_FLAG_SAMPLED;
    WhimbrelTrace();
}

static VOID
WhimbrelEndUse(_In_ PWHIMBREL_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WhimbrelLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = (Binding->Flags & WHIMBREL_FLAG_DETACHING) != 0 && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&WhimbrelLock, OldIrql);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
WhimbrelThread(PVOID StartContext)
{
    PWHIMBREL_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&WhimbrelWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&WhimbrelStop) != 0) {
            break;
        }

        Binding = WhimbrelBeginUse();
        if (Binding != NULL) {
            WhimbrelSample(Binding);
            WhimbrelEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WhimbrelAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PWHIMBREL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PWHIMBREL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), WHIMBREL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Wanted = TRUE;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, WHIMBREL_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&WhimbrelLock, &OldIrql);
    InsertTailList(&WhimbrelBindings, &Binding->Link);
    KeReleaseSpinLock(&WhimbrelLock, OldIrql);

    KeReleaseSemaphore(&WhimbrelWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WhimbrelDetachProvider(PVOID ClientBindingContext)
{
    PWHIMBREL_BINDING Binding = (PWHIMBREL_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    WhimbrelTrace();
    KeAcquireSpinLock(&WhimbrelLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Flags |= WHIMBREL_FLAG_DETACHING;
    Busy = Binding->UsesInProgress != 0;
    KeReleaseSpinLock(&WhimbrelLock, OldIrql);
    WhimbrelTrace();

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WhimbrelCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, WHIMBREL_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
WhimbrelStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, WhimbrelThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&WhimbrelThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
WhimbrelStopThread(VOID)
{
    KeSetEvent(&WhimbrelStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&WhimbrelWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(WhimbrelThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(WhimbrelThreadObject);
}

_Use_decl_annotations_
static VOID
WhimbrelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs the thread, so the thread ends after the wait.
    if (NmrDeregisterClient(WhimbrelClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(WhimbrelClientHandle);
    }

    WhimbrelStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WhimbrelUnload;
    KeInitializeEvent(&WhimbrelStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&WhimbrelWork, 0, MAXLONG);
    KeInitializeSpinLock(&WhimbrelLock);
    InitializeListHead(&WhimbrelBindings);

    Status = WhimbrelStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&WhimbrelCharacteristics, NULL, &WhimbrelClientHandle);
    if (!NT_SUCCESS(Status)) {
        WhimbrelStopThread();
    }

    return Status;
}
