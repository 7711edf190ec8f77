// nmrfuzz: module
// summary: Client whose thread uses bindings under run-down protection; the detach leaves the run-down to a work item.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Waiting for the run-down takes a thread that may wait, which the detach callback is not. Its work item was allocated
// at attach, so a detach cannot fail for want of memory.

#include <ntddk.h>
#include <netioddk.h>

#define CUSTODY_POOL_TAG 'tsuC'

typedef struct _CUSTODY_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    EX_RUNDOWN_REF Rundown; // Held by each use.
    PIO_WORKITEM DetachWorkItem;
    BOOLEAN Inspected;
    LONG64 LastInspection;
} CUSTODY_BINDING, *PCUSTODY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CustodyUnload;
static KSTART_ROUTINE CustodyThread;
static IO_WORKITEM_ROUTINE CustodyDetachWorker;
static NPI_CLIENT_ATTACH_PROVIDER_FN CustodyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN CustodyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN CustodyCleanupBindingContext;

static const NPIID CustodyNpiId = { 0xa0885dd7, 0xf571, 0x5144, { 0xb1, 0x59, 0x26, 0x37, 0x29, 0xcf, 0x86, 0x8f } };
static const NPI_MODULEID CustodyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf3e86863, 0x61a0, 0x5b37, { 0x80, 0x70, 0x94, 0x25, 0x3c, 0xee, 0x86, 0xa3 } } }
};

static const NPI_CLIENT_CHARACTERISTICS CustodyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    CustodyAttachProvider,
    CustodyDetachProvider,
    CustodyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CustodyNpiId, &CustodyModuleId, 0, NULL }
};

static PDEVICE_OBJECT CustodyDevice;
static HANDLE CustodyClientHandle;
static PKTHREAD CustodyThreadObject;
static KEVENT CustodyStop;
static KEVENT CustodyWake; // Synchronization event: a binding is new.
static KSPIN_LOCK CustodyLock;
_Guarded_by_(CustodyLock) static LIST_ENTRY CustodyBindings;

// A binding that was not inspected before, protected until CustodyEndUse; NULL if there is none.
_Must_inspect_result_
static PCUSTODY_BINDING
CustodyBeginUse(VOID)
{
    PCUSTODY_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CustodyLock, &OldIrql);
    for (Entry = CustodyBindings.Flink; Entry != &CustodyBindings && Found == NULL; Entry = Entry->Flink) {
        PCUSTODY_BINDING Binding = CONTAINING_RECORD(Entry, CUSTODY_BINDING, Link);

        if (!Binding->Inspected && ExAcquireRundownProtection(&Binding->Rundown)) {
            Binding->Inspected = TRUE;
            Found = Binding;
        }
    }
    KeReleaseSpinLock(&CustodyLock, OldIrql);
    return Found;
}

static VOID
CustodyEndUse(_In_ PCUSTODY_BINDING Binding)
{
    ExReleaseRundownProtection(&Binding->Rundown);
}

_Use_decl_annotations_
static VOID
CustodyThread(PVOID StartContext)
{
    PVOID Objects[] = { &CustodyStop, &CustodyWake };
    PCUSTODY_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    // The first object is the one that ends the wait if both are signalled.
    while (KeWaitForMultipleObjects(
               RTL_NUMBER_OF(Objects), Objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0) {
        while ((Binding = CustodyBeginUse()) != NULL) {
            InterlockedExchange64(&Binding->LastInspection, (LONG64)KeQueryInterruptTime());
            CustodyEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static VOID
CustodyDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PCUSTODY_BINDING Binding = (PCUSTODY_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    ExWaitForRundownProtectionRelease(&Binding->Rundown);
    NmrClientDetachProviderComplete(Binding->BindingHandle);
}

_Must_inspect_result_
static PCUSTODY_BINDING
CustodyNewBinding(_In_ HANDLE BindingHandle)
{
    PCUSTODY_BINDING Binding;

    Binding = (PCUSTODY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), CUSTODY_POOL_TAG);
    if (Binding == NULL) {
        return NULL;
    }

    Binding->DetachWorkItem = IoAllocateWorkItem(CustodyDevice);
    if (Binding->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Binding, CUSTODY_POOL_TAG);
        return NULL;
    }

    Binding->BindingHandle = BindingHandle;
    ExInitializeRundownProtection(&Binding->Rundown);
    return Binding;
}

static VOID
CustodyFreeBinding(_In_ PCUSTODY_BINDING Binding)
{
    IoFreeWorkItem(Binding->DetachWorkItem);
    ExFreePoolWithTag(Binding, CUSTODY_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CustodyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PCUSTODY_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = CustodyNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        CustodyFreeBinding(Binding);
        return Status;
    }

    KeAcquireSpinLock(&CustodyLock, &OldIrql);
    InsertTailList(&CustodyBindings, &Binding->Link);
    KeReleaseSpinLock(&CustodyLock, OldIrql);

    KeSetEvent(&CustodyWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CustodyDetachProvider(PVOID ClientBindingContext)
{
    PCUSTODY_BINDING Binding = (PCUSTODY_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&CustodyLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&CustodyLock, OldIrql);

    IoQueueWorkItem(Binding->DetachWorkItem, CustodyDetachWorker, DelayedWorkQueue, Binding);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
CustodyCleanupBindingContext(PVOID ClientBindingContext)
{
    CustodyFreeBinding((PCUSTODY_BINDING)ClientBindingContext);
}

_Must_inspect_result_
static NTSTATUS
CustodyStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CustodyThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CustodyThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
CustodyStopThread(VOID)
{
    KeSetEvent(&CustodyStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(CustodyThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(CustodyThreadObject);
}

_Use_decl_annotations_
static VOID
CustodyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(CustodyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(CustodyClientHandle);
    }

    CustodyStopThread();
    IoDeleteDevice(CustodyDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CustodyUnload;

    KeInitializeEvent(&CustodyStop, NotificationEvent, FALSE);
    KeInitializeEvent(&CustodyWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&CustodyLock);
    InitializeListHead(&CustodyBindings);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &CustodyDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = CustodyStartThread();
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(CustodyDevice);
        return Status;
    }

    Status = NmrRegisterClient(&CustodyCharacteristics, NULL, &CustodyClientHandle);
    if (!NT_SUCCESS(Status)) {
        CustodyStopThread();
        IoDeleteDevice(CustodyDevice);
    }

    return Status;
}
