// nmrfuzz: module
// summary: Client whose thread finds a binding under the lock but protects it after it has dropped the lock.
// provides: 0
// consumes: 1
// expect: use-after-free, lock-misuse, bad-call
// rule: R88
// needs: a binding is cleaned up between lookup and protection
// interleaving: yes
// hardness: 190 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BAILIFF_POOL_TAG 'iliB'

typedef struct _BAILIFF_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    EX_RUNDOWN_REF Rundown; // Held by each use.
    PIO_WORKITEM DetachWorkItem;
    BOOLEAN Inspected;
    LONG64 LastInspection;
} BAILIFF_BINDING, *PBAILIFF_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BailiffUnload;
static KSTART_ROUTINE BailiffThread;
static IO_WORKITEM_ROUTINE BailiffDetachWorker;
static NPI_CLIENT_ATTACH_PROVIDER_FN BailiffAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BailiffDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BailiffCleanupBindingContext;

static const NPIID BailiffNpiId = { 0xa3eb5e13, 0xcb64, 0x5c70, { 0x80, 0x20, 0x4e, 0x8e, 0x89, 0xe9, 0x93, 0x46 } };
static const NPI_MODULEID BailiffModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc48bd65c, 0x1eaf, 0x56ff, { 0xaf, 0xc3, 0x70, 0x8a, 0x2d, 0x70, 0x23, 0xbd } } }
};

static const NPI_CLIENT_CHARACTERISTICS BailiffCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BailiffAttachProvider,
    BailiffDetachProvider,
    BailiffCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BailiffNpiId, &BailiffModuleId, 0, NULL }
};

static PDEVICE_OBJECT BailiffDevice;
static HANDLE BailiffClientHandle;
static PKTHREAD BailiffThreadObject;
static KEVENT BailiffStop;
static KEVENT BailiffWake; // Synchronization event: a binding is new.
static KSPIN_LOCK BailiffLock;
_Guarded_by_(BailiffLock) static LIST_ENTRY BailiffBindings;

// A binding that was not inspected before, protected until BailiffEndUse; NULL if there is none.
_Must_inspect_result_
static PBAILIFF_BINDING
BailiffBeginUse(VOID)
{
    PBAILIFF_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BailiffLock, &OldIrql);
    for (Entry = BailiffBindings.Flink; Entry != &BailiffBindings && Found == NULL; Entry = Entry->Flink) {
        PBAILIFF_BINDING Binding = CONTAINING_RECORD(Entry, BAILIFF_BINDING, Link);

        if (!Binding->Inspected) {
            Binding->Inspected = TRUE;
            Found = Binding;
        }
    }
    KeReleaseSpinLock(&BailiffLock, OldIrql);

    // Defect: the protection protects nothing if the binding may be gone when it is asked for.
    if (Found != NULL && !ExAcquireRundownProtection(&Found->Rundown)) {
        Found = NULL;
    }
    return Found;
}

static VOID
BailiffEndUse(_In_ PBAILIFF_BINDING Binding)
{
    ExReleaseRundownProtection(&Binding->Rundown);
}

_Use_decl_annotations_
static VOID
BailiffThread(PVOID StartContext)
{
    PVOID Objects[] = { &BailiffStop, &BailiffWake };
    PBAILIFF_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    // The first object is the one that ends the wait if both are signalled.
    while (KeWaitForMultipleObjects(
               RTL_NUMBER_OF(Objects), Objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0) {
        while ((Binding = BailiffBeginUse()) != NULL) {
            InterlockedExchange64(&Binding->LastInspection, (LONG64)KeQueryInterruptTime());
            BailiffEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static VOID
BailiffDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PBAILIFF_BINDING Binding = (PBAILIFF_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    ExWaitForRundownProtectionRelease(&Binding->Rundown);
    NmrClientDetachProviderComplete(Binding->BindingHandle);
}

_Must_inspect_result_
static PBAILIFF_BINDING
BailiffNewBinding(_In_ HANDLE BindingHandle)
{
    PBAILIFF_BINDING Binding;

    Binding = (PBAILIFF_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BAILIFF_POOL_TAG);
    if (Binding == NULL) {
        return NULL;
    }

    Binding->DetachWorkItem = IoAllocateWorkItem(BailiffDevice);
    if (Binding->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Binding, BAILIFF_POOL_TAG);
        return NULL;
    }

    Binding->BindingHandle = BindingHandle;
    ExInitializeRundownProtection(&Binding->Rundown);
    return Binding;
}

static VOID
BailiffFreeBinding(_In_ PBAILIFF_BINDING Binding)
{
    IoFreeWorkItem(Binding->DetachWorkItem);
    ExFreePoolWithTag(Binding, BAILIFF_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BailiffAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBAILIFF_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = BailiffNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        BailiffFreeBinding(Binding);
        return Status;
    }

    KeAcquireSpinLock(&BailiffLock, &OldIrql);
    InsertTailList(&BailiffBindings, &Binding->Link);
    KeReleaseSpinLock(&BailiffLock, OldIrql);

    KeSetEvent(&BailiffWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BailiffDetachProvider(PVOID ClientBindingContext)
{
    PBAILIFF_BINDING Binding = (PBAILIFF_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&BailiffLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&BailiffLock, OldIrql);

    IoQueueWorkItem(Binding->DetachWorkItem, BailiffDetachWorker, DelayedWorkQueue, Binding);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
BailiffCleanupBindingContext(PVOID ClientBindingContext)
{
    BailiffFreeBinding((PBAILIFF_BINDING)ClientBindingContext);
}

_Must_inspect_result_
static NTSTATUS
BailiffStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, BailiffThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&BailiffThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
BailiffStopThread(VOID)
{
    KeSetEvent(&BailiffStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(BailiffThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(BailiffThreadObject);
}

_Use_decl_annotations_
static VOID
BailiffUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BailiffClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BailiffClientHandle);
    }

    BailiffStopThread();
    IoDeleteDevice(BailiffDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BailiffUnload;

    KeInitializeEvent(&BailiffStop, NotificationEvent, FALSE);
    KeInitializeEvent(&BailiffWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&BailiffLock);
    InitializeListHead(&BailiffBindings);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &BailiffDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = BailiffStartThread();
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(BailiffDevice);
        return Status;
    }

    Status = NmrRegisterClient(&BailiffCharacteristics, NULL, &BailiffClientHandle);
    if (!NT_SUCCESS(Status)) {
        BailiffStopThread();
        IoDeleteDevice(BailiffDevice);
    }

    return Status;
}
