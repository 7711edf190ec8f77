// nmrfuzz: module
// summary: Client whose threads and callbacks keep a binding's flags and uses in one word, changed by interlocked operations only.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The lower bit of State says that the binding is to be detached, the rest counts uses. Whoever brings the word to "to
// be detached, no use" has done so by an interlocked operation, so there is exactly one, and that one is the last.

#include <ntddk.h>
#include <netioddk.h>

#define DOTTEREL_POOL_TAG 'ttoD'
#define DOTTEREL_DETACHING 0x1
#define DOTTEREL_USE 0x2

typedef struct _DOTTEREL_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    LONG State;
    BOOLEAN Wanted; // A sample is owed.
    ULONGLONG LastSample;
} DOTTEREL_BINDING, *PDOTTEREL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DotterelUnload;
static KSTART_ROUTINE DotterelThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN DotterelAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN DotterelDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN DotterelCleanupBindingContext;

static const NPIID DotterelNpiId = { 0x1a633e73, 0x7edc, 0x5d94, { 0xac, 0x63, 0xbd, 0xad, 0xa3, 0x16, 0x66, 0xe9 } };
static const NPI_MODULEID DotterelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc7402741, 0x94aa, 0x53e1, { 0xbf, 0x9b, 0x00, 0xf6, 0xc1, 0x2c, 0xa9, 0x27 } } }
};

static const NPI_CLIENT_CHARACTERISTICS DotterelCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    DotterelAttachProvider,
    DotterelDetachProvider,
    DotterelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DotterelNpiId, &DotterelModuleId, 0, NULL }
};

static HANDLE DotterelClientHandle;
static PKTHREAD DotterelThreadObject;
static KEVENT DotterelStop;
static KSEMAPHORE DotterelWork; // One count for each sample owed.
static KSPIN_LOCK DotterelLock;
_Guarded_by_(DotterelLock) static LIST_ENTRY DotterelBindings;

// Takes a binding that is owed a sample, and counts its use. NULL: there is none.
_Must_inspect_result_
static PDOTTEREL_BINDING
DotterelBeginUse(VOID)
{
    PDOTTEREL_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&DotterelLock, &OldIrql);
    for (Entry = DotterelBindings.Flink; Entry != &DotterelBindings; Entry = Entry->Flink) {
        PDOTTEREL_BINDING Binding = CONTAINING_RECORD(Entry, DOTTEREL_BINDING, Link);

        if (Binding->Wanted) {
            Binding->Wanted = FALSE;
            InterlockedExchangeAdd(&Binding->State, DOTTEREL_USE); // On the list: the detach callback has yet to come.
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&DotterelLock, OldIrql);
    return Found;
}

static VOID
DotterelSample(_In_ PDOTTEREL_BINDING Binding)
{
    Binding->LastSample = KeQueryInterruptTime();
}

static VOID
DotterelEndUse(_In_ PDOTTEREL_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;

    Last = InterlockedExchangeAdd(&Binding->State, -DOTTEREL_USE) == (DOTTEREL_USE | DOTTEREL_DETACHING);

    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
DotterelThread(PVOID StartContext)
{
    PDOTTEREL_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&DotterelWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&DotterelStop) != 0) {
            break;
        }

        Binding = DotterelBeginUse();
        if (Binding != NULL) {
            DotterelSample(Binding);
            DotterelEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DotterelAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PDOTTEREL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PDOTTEREL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), DOTTEREL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Wanted = TRUE;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, DOTTEREL_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&DotterelLock, &OldIrql);
    InsertTailList(&DotterelBindings, &Binding->Link);
    KeReleaseSpinLock(&DotterelLock, OldIrql);

    KeReleaseSemaphore(&DotterelWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DotterelDetachProvider(PVOID ClientBindingContext)
{
    PDOTTEREL_BINDING Binding = (PDOTTEREL_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&DotterelLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&DotterelLock, OldIrql);

    // No use begins from here on; those that have begun are in the word.
    return InterlockedOr(&Binding->State, DOTTEREL_DETACHING) != 0 ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DotterelCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, DOTTEREL_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
DotterelStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, DotterelThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&DotterelThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
DotterelStopThread(VOID)
{
    KeSetEvent(&DotterelStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&DotterelWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(DotterelThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(DotterelThreadObject);
}

_Use_decl_annotations_
static VOID
DotterelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs the thread, so the thread ends after the wait.
    if (NmrDeregisterClient(DotterelClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(DotterelClientHandle);
    }

    DotterelStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DotterelUnload;
    KeInitializeEvent(&DotterelStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&DotterelWork, 0, MAXLONG);
    KeInitializeSpinLock(&DotterelLock);
    InitializeListHead(&DotterelBindings);

    Status = DotterelStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&DotterelCharacteristics, NULL, &DotterelClientHandle);
    if (!NT_SUCCESS(Status)) {
        DotterelStopThread();
    }

    return Status;
}
