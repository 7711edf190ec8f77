// nmrfuzz: module
// summary: Client whose cleanup callback waits for the run-down of its uses, which it may not at DISPATCH_LEVEL.
// provides: 0
// consumes: 1
// expect: irql
// rule: R86
// needs: cleanup at DISPATCH_LEVEL
// interleaving: no
// hardness: 15 schedules; 5 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define VIGIL_POOL_TAG 'igiV'

typedef struct _VIGIL_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    EX_RUNDOWN_REF Rundown; // Held by each use.
    PIO_WORKITEM DetachWorkItem;
    BOOLEAN Inspected;
    LONG64 LastInspection;
} VIGIL_BINDING, *PVIGIL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD VigilUnload;
static KSTART_ROUTINE VigilThread;
static IO_WORKITEM_ROUTINE VigilDetachWorker;
static NPI_CLIENT_ATTACH_PROVIDER_FN VigilAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN VigilDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN VigilCleanupBindingContext;

static const NPIID VigilNpiId = { 0x48e49153, 0xa199, 0x51af, { 0xb2, 0xc1, 0x8e, 0xe9, 0x71, 0x22, 0x44, 0x7a } };
static const NPI_MODULEID VigilModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8330c802, 0x0847, 0x58b2, { 0x9d, 0x63, 0x15, 0xbd, 0xd8, 0xf4, 0xc1, 0x82 } } }
};

static const NPI_CLIENT_CHARACTERISTICS VigilCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    VigilAttachProvider,
    VigilDetachProvider,
    VigilCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &VigilNpiId, &VigilModuleId, 0, NULL }
};

static PDEVICE_OBJECT VigilDevice;
static HANDLE VigilClientHandle;
static PKTHREAD VigilThreadObject;
static KEVENT VigilStop;
static KEVENT VigilWake; // Synchronization event: a binding is new.
static KSPIN_LOCK VigilLock;
_Guarded_by_(VigilLock) static LIST_ENTRY VigilBindings;

// A binding that was not inspected before, protected until VigilEndUse; NULL if there is none.
_Must_inspect_result_
static PVIGIL_BINDING
VigilBeginUse(VOID)
{
    PVIGIL_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&VigilLock, &OldIrql);
    for (Entry = VigilBindings.Flink; Entry != &VigilBindings && Found == NULL; Entry = Entry->Flink) {
        PVIGIL_BINDING Binding = CONTAINING_RECORD(Entry, VIGIL_BINDING, Link);

        if (!Binding->Inspected && ExAcquireRundownProtection(&Binding->Rundown)) {
            Binding->Inspected = TRUE;
            Found = Binding;
        }
    }
    KeReleaseSpinLock(&VigilLock, OldIrql);
    return Found;
}

static VOID
VigilEndUse(_In_ PVIGIL_BINDING Binding)
{
    ExReleaseRundownProtection(&Binding->Rundown);
}

_Use_decl_annotations_
static VOID
VigilThread(PVOID StartContext)
{
    PVOID Objects[] = { &VigilStop, &VigilWake };
    PVIGIL_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    // The first object is the one that ends the wait if both are signalled.
    while (KeWaitForMultipleObjects(
               RTL_NUMBER_OF(Objects), Objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0) {
        while ((Binding = VigilBeginUse()) != NULL) {
            InterlockedExchange64(&Binding->LastInspection, (LONG64)KeQueryInterruptTime());
            VigilEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static VOID
VigilDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PVIGIL_BINDING Binding = (PVIGIL_BINDING)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    NmrClientDetachProviderComplete(Binding->BindingHandle);
}

_Must_inspect_result_
static PVIGIL_BINDING
VigilNewBinding(_In_ HANDLE BindingHandle)
{
    PVIGIL_BINDING Binding;

    Binding = (PVIGIL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), VIGIL_POOL_TAG);
    if (Binding == NULL) {
        return NULL;
    }

    Binding->DetachWorkItem = IoAllocateWorkItem(VigilDevice);
    if (Binding->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Binding, VIGIL_POOL_TAG);
        return NULL;
    }

    Binding->BindingHandle = BindingHandle;
    ExInitializeRundownProtection(&Binding->Rundown);
    return Binding;
}

static VOID
VigilFreeBinding(_In_ PVIGIL_BINDING Binding)
{
    IoFreeWorkItem(Binding->DetachWorkItem);
    ExFreePoolWithTag(Binding, VIGIL_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VigilAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PVIGIL_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = VigilNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        VigilFreeBinding(Binding);
        return Status;
    }

    KeAcquireSpinLock(&VigilLock, &OldIrql);
    InsertTailList(&VigilBindings, &Binding->Link);
    KeReleaseSpinLock(&VigilLock, OldIrql);

    KeSetEvent(&VigilWake, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VigilDetachProvider(PVOID ClientBindingContext)
{
    PVIGIL_BINDING Binding = (PVIGIL_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&VigilLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&VigilLock, OldIrql);

    IoQueueWorkItem(Binding->DetachWorkItem, VigilDetachWorker, DelayedWorkQueue, Binding);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
VigilCleanupBindingContext(PVOID ClientBindingContext)
{
    PVIGIL_BINDING Binding = (PVIGIL_BINDING)ClientBindingContext;

    // Defect: this belongs before the completion. Here the IRQL is that of whoever was the last to be detached.
    ExWaitForRundownProtectionRelease(&Binding->Rundown);
    VigilFreeBinding(Binding);
}

_Must_inspect_result_
static NTSTATUS
VigilStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, VigilThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&VigilThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
VigilStopThread(VOID)
{
    KeSetEvent(&VigilStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(VigilThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(VigilThreadObject);
}

_Use_decl_annotations_
static VOID
VigilUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(VigilClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(VigilClientHandle);
    }

    VigilStopThread();
    IoDeleteDevice(VigilDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = VigilUnload;

    KeInitializeEvent(&VigilStop, NotificationEvent, FALSE);
    KeInitializeEvent(&VigilWake, SynchronizationEvent, FALSE);
    KeInitializeSpinLock(&VigilLock);
    InitializeListHead(&VigilBindings);

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &VigilDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = VigilStartThread();
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(VigilDevice);
        return Status;
    }

    Status = NmrRegisterClient(&VigilCharacteristics, NULL, &VigilClientHandle);
    if (!NT_SUCCESS(Status)) {
        VigilStopThread();
        IoDeleteDevice(VigilDevice);
    }

    return Status;
}
