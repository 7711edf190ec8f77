// nmrfuzz: module
// summary: Client whose thread looks at a plain flag to learn that it has to end.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: the thread looks at the flag while Unload sets it
// interleaving: yes
// hardness: 234 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define WIGEON_POOL_TAG 'egiW'

typedef struct _WIGEON_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Served;
} WIGEON_BINDING, *PWIGEON_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD WigeonUnload;
static KSTART_ROUTINE WigeonThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN WigeonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN WigeonDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN WigeonCleanupBindingContext;

static const NPIID WigeonNpiId = { 0xa8c8686a, 0x5157, 0x584c, { 0xb8, 0xe5, 0xa7, 0x6a, 0x98, 0xe4, 0x33, 0xe9 } };
static const NPI_MODULEID WigeonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc8da1dbd, 0x28df, 0x590c, { 0x8e, 0x81, 0x62, 0xd2, 0xef, 0x07, 0xb9, 0xe5 } } }
};

static const NPI_CLIENT_CHARACTERISTICS WigeonCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    WigeonAttachProvider,
    WigeonDetachProvider,
    WigeonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &WigeonNpiId, &WigeonModuleId, 0, NULL }
};

static HANDLE WigeonClientHandle;
static PKTHREAD WigeonThreadObject;
static KEVENT WigeonWake; // Synchronization event: a binding is new, or the thread shall end.
static BOOLEAN WigeonStopping;
static KSPIN_LOCK WigeonLock;
_Guarded_by_(WigeonLock) static LIST_ENTRY WigeonBindings;
_Guarded_by_(WigeonLock) static ULONG WigeonBindingsKnown;

static VOID
WigeonServeAll(VOID)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WigeonLock, &OldIrql);
    for (Entry = WigeonBindings.Flink; Entry != &WigeonBindings; Entry = Entry->Flink) {
        CONTAINING_RECORD(Entry, WIGEON_BINDING, Link)->Served++;
    }
    KeReleaseSpinLock(&WigeonLock, OldIrql);
}

_Use_decl_annotations_
static VOID
WigeonThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&WigeonWake, Executive, KernelMode, FALSE, NULL);

        // Defect: the flag is neither volatile nor guarded by the lock.
        if (WigeonStopping) {
            break;
        }
        WigeonServeAll();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WigeonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PWIGEON_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PWIGEON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), WIGEON_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, WIGEON_POOL_TAG);
        return Status;
    }

    KeAcquireSpinLock(&WigeonLock, &OldIrql);
    InsertTailList(&WigeonBindings, &Binding->Link);
    WigeonBindingsKnown++;
    KeReleaseSpinLock(&WigeonLock, OldIrql);

    KeSetEvent(&WigeonWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
WigeonDetachProvider(PVOID ClientBindingContext)
{
    PWIGEON_BINDING Binding = (PWIGEON_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WigeonLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    WigeonBindingsKnown--;
    KeReleaseSpinLock(&WigeonLock, OldIrql);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
WigeonCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, WIGEON_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
WigeonStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, WigeonThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&WigeonThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
WigeonStopThread(VOID)
{
    ULONG Left;
    KIRQL OldIrql;

    KeAcquireSpinLock(&WigeonLock, &OldIrql);
    Left = WigeonBindingsKnown;
    KeReleaseSpinLock(&WigeonLock, OldIrql);
    NT_ASSERT(Left == 0);

    WigeonStopping = TRUE;
    KeSetEvent(&WigeonWake, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(WigeonThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(WigeonThreadObject);
}

_Use_decl_annotations_
static VOID
WigeonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(WigeonClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(WigeonClientHandle);
    }

    WigeonStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = WigeonUnload;
    KeInitializeEvent(&WigeonWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&WigeonLock);
    InitializeListHead(&WigeonBindings);

    Status = NmrRegisterClient(&WigeonCharacteristics, NULL, &WigeonClientHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // The bindings that there are already have left their event set.
    Status = WigeonStartThread();
    if (!NT_SUCCESS(Status)) {
        if (NmrDeregisterClient(WigeonClientHandle) == STATUS_PENDING) {
            NmrWaitForClientDeregisterComplete(WigeonClientHandle);
        }
    }

    return Status;
}
