// smoke_driver.c - a provider that uses much of the surface: a device, a worker thread, a timer with its DPC, work
// items, bindings under rundown protection, a reader/writer lock, lookaside lists. Compiles; nothing here is run.
// flags: -Wall -Wextra -Werror -Wno-missing-field-initializers
#include <ntddk.h>
#include <initguid.h>
#include <ntstrsafe.h>
#include <ntintsafe.h>
#include "smoke_npi.h"

#define SMOKE_TAG 'kmSN'

typedef struct _SMOKE_BINDING {
    LIST_ENTRY Link;
    HANDLE NmrBindingHandle;
    PVOID ClientContext;
    const SMOKE_CLIENT_DISPATCH *ClientDispatch;
    EX_RUNDOWN_REF Rundown;
    PIO_WORKITEM CloseItem;
    volatile LONG References;
} SMOKE_BINDING;

typedef struct _SMOKE_REQUEST {
    SLIST_ENTRY Link;
    ULONG Length;
} SMOKE_REQUEST;

static struct {
    HANDLE Provider;
    PDEVICE_OBJECT Device;
    LIST_ENTRY Bindings;
    EX_PUSH_LOCK BindingsLock;
    EX_SPIN_LOCK StateLock;
    KSPIN_LOCK QueueLock;
    KTIMER Timer;
    KDPC Dpc;
    KEVENT Stop;
    KSEMAPHORE Work;
    KMUTEX Mutex;
    FAST_MUTEX FastMutex;
    PKTHREAD Thread;
    SLIST_HEADER Requests;
    NPAGED_LOOKASIDE_LIST RequestMemory;
    LOOKASIDE_LIST_EX OtherMemory;
    WORK_QUEUE_ITEM Tick;
    PEX_TIMER ExTimer;
    PEX_RUNDOWN_REF_CACHE_AWARE Calls;
    LONG64 Ticks;
} Smoke;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SmokeUnload;
static KDEFERRED_ROUTINE SmokeDpc;
static KSTART_ROUTINE SmokeThread;
static WORKER_THREAD_ROUTINE SmokeTick;
static EXT_CALLBACK SmokeExTimer;
static IO_WORKITEM_ROUTINE SmokeClose;
static _Dispatch_type_(IRP_MJ_CREATE) DRIVER_DISPATCH SmokeCreate;
static NPI_PROVIDER_ATTACH_CLIENT_FN SmokeAttach;
static NPI_PROVIDER_DETACH_CLIENT_FN SmokeDetach;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SmokeCleanup;
static SMOKE_SEND_FN SmokeSend;

#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#endif

static const NPI_MODULEID SmokeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    {{0x9d3b2c11, 0x1c42, 0x4ff0, {0x80, 0x54, 0x11, 0x0a, 0xbb, 0x31, 0x70, 0x02}}},
};

static const SMOKE_PROVIDER_DISPATCH SmokeDispatch = {.Version = 1, .Size = sizeof(SmokeDispatch), .Send = SmokeSend};

static const NPI_PROVIDER_CHARACTERISTICS SmokeCharacteristics = {
    .Version = 0,
    .Length = sizeof(SmokeCharacteristics),
    .ProviderAttachClient = SmokeAttach,
    .ProviderDetachClient = SmokeDetach,
    .ProviderCleanupBindingContext = SmokeCleanup,
    .ProviderRegistrationInstance = {.Size = sizeof(NPI_REGISTRATION_INSTANCE),
                                     .NpiId = &SMOKE_NPIID,
                                     .ModuleId = &SmokeModuleId},
};

_Use_decl_annotations_ static NTSTATUS SmokeSend(PVOID ProviderBindingContext, const UCHAR *Data, ULONG Length) {
    SMOKE_BINDING *binding = (SMOKE_BINDING *)ProviderBindingContext;
    KLOCK_QUEUE_HANDLE handle;
    ULONG total = 0;
    SMOKE_REQUEST *request;
    if (!NT_SUCCESS(RtlULongAdd(Length, sizeof(SMOKE_REQUEST), &total)) || Data == NULL) {
        return STATUS_INVALID_PARAMETER;
    }
    if (!ExAcquireRundownProtection(&binding->Rundown)) {
        return STATUS_DELETE_PENDING;
    }
    request = (SMOKE_REQUEST *)ExAllocateFromNPagedLookasideList(&Smoke.RequestMemory);
    if (request == NULL) {
        ExReleaseRundownProtection(&binding->Rundown);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    request->Length = Length;
    InterlockedPushEntrySList(&Smoke.Requests, &request->Link);
    KeAcquireInStackQueuedSpinLock(&Smoke.QueueLock, &handle);
    ++Smoke.Ticks;
    KeReleaseInStackQueuedSpinLock(&handle);
    KeReleaseSemaphore(&Smoke.Work, IO_NO_INCREMENT, 1, FALSE);
    binding->ClientDispatch->Sent(binding->ClientContext, STATUS_SUCCESS);
    ExReleaseRundownProtection(&binding->Rundown);
    return STATUS_SUCCESS;
}

static NTSTATUS SmokeAttach(HANDLE NmrBindingHandle, PVOID ProviderContext,
                            PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance, PVOID ClientBindingContext,
                            const VOID *ClientDispatch, PVOID *ProviderBindingContext, const VOID **ProviderDispatch) {
    SMOKE_BINDING *binding;
    PAGED_CODE();
    UNREFERENCED_PARAMETER(ProviderContext);
    if (ClientDispatch == NULL || NmrIsEqualNpiModuleId(ClientRegistrationInstance->ModuleId, &SmokeModuleId)) {
        return STATUS_NOINTERFACE;
    }
    binding = (SMOKE_BINDING *)ExAllocatePoolZero(NonPagedPoolNx, sizeof(*binding), SMOKE_TAG);
    if (binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    binding->CloseItem = IoAllocateWorkItem(Smoke.Device);
    if (binding->CloseItem == NULL) {
        ExFreePoolWithTag(binding, SMOKE_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeRundownProtection(&binding->Rundown);
    binding->NmrBindingHandle = NmrBindingHandle;
    binding->ClientContext = ClientBindingContext;
    binding->ClientDispatch = (const SMOKE_CLIENT_DISPATCH *)ClientDispatch;
    binding->References = 1;
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&Smoke.BindingsLock);
    InsertTailList(&Smoke.Bindings, &binding->Link);
    ExReleasePushLockExclusive(&Smoke.BindingsLock);
    KeLeaveCriticalRegion();
    *ProviderBindingContext = binding;
    *ProviderDispatch = &SmokeDispatch;
    return STATUS_SUCCESS;
}

static VOID SmokeClose(PDEVICE_OBJECT DeviceObject, PVOID Context) {
    SMOKE_BINDING *binding = (SMOKE_BINDING *)Context;
    UNREFERENCED_PARAMETER(DeviceObject);
    ExWaitForRundownProtectionRelease(&binding->Rundown);
    KeEnterGuardedRegion();
    ExAcquirePushLockExclusive(&Smoke.BindingsLock);
    RemoveEntryList(&binding->Link);
    ExReleasePushLockExclusive(&Smoke.BindingsLock);
    KeLeaveGuardedRegion();
    NmrProviderDetachClientComplete(binding->NmrBindingHandle);
}

static NTSTATUS SmokeDetach(PVOID ProviderBindingContext) {
    SMOKE_BINDING *binding = (SMOKE_BINDING *)ProviderBindingContext;
    IoQueueWorkItem(binding->CloseItem, SmokeClose, DelayedWorkQueue, binding);
    return STATUS_PENDING;
}

static VOID SmokeCleanup(PVOID ProviderBindingContext) {
    SMOKE_BINDING *binding = (SMOKE_BINDING *)ProviderBindingContext;
    if (InterlockedDecrement(&binding->References) == 0) {
        IoFreeWorkItem(binding->CloseItem);
        ExFreePoolWithTag(binding, SMOKE_TAG);
    }
}

static VOID SmokeTick(PVOID Parameter) {
    ASSERT(Parameter == &Smoke);
    if (ExAcquireRundownProtectionCacheAware(Smoke.Calls)) {
        ExReleaseRundownProtectionCacheAware(Smoke.Calls);
    }
}

static VOID SmokeExTimer(PEX_TIMER Timer, PVOID Context) {
    UNREFERENCED_PARAMETER(Timer);
    InterlockedIncrement64((LONG64 *)Context);
}

static VOID SmokeDpc(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2) {
    KIRQL irql = KeGetCurrentIrql();
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);
    NT_ASSERT(irql <= DISPATCH_LEVEL && Dpc->DeferredContext == DeferredContext);
    irql = ExAcquireSpinLockShared(&Smoke.StateLock);
    KeAcquireSpinLockAtDpcLevel(&Smoke.QueueLock);
    KeReleaseSpinLockFromDpcLevel(&Smoke.QueueLock);
    ExReleaseSpinLockShared(&Smoke.StateLock, irql);
    ExQueueWorkItem(&Smoke.Tick, DelayedWorkQueue);
}

static VOID SmokeThread(PVOID StartContext) {
    PVOID objects[2] = {&Smoke.Stop, &Smoke.Work};
    LARGE_INTEGER timeout = {.QuadPart = -10000 * 1000LL};
    UNREFERENCED_PARAMETER(StartContext);
    for (;;) {
        PSLIST_ENTRY entry;
        NTSTATUS status = KeWaitForMultipleObjects(RTL_NUMBER_OF(objects), objects, WaitAny, Executive, KernelMode,
                                                   FALSE, &timeout, NULL);
        if (status == STATUS_WAIT_0) {
            break;
        }
        while ((entry = InterlockedPopEntrySList(&Smoke.Requests)) != NULL) {
            ExFreeToNPagedLookasideList(&Smoke.RequestMemory, CONTAINING_RECORD(entry, SMOKE_REQUEST, Link));
        }
        KeWaitForSingleObject(&Smoke.Mutex, Executive, KernelMode, FALSE, NULL);
        KeReleaseMutex(&Smoke.Mutex, FALSE);
        ExAcquireFastMutex(&Smoke.FastMutex);
        ExReleaseFastMutex(&Smoke.FastMutex);
        KeDelayExecutionThread(KernelMode, FALSE, &timeout);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_ static NTSTATUS SmokeCreate(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    UNREFERENCED_PARAMETER(DeviceObject);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    return STATUS_SUCCESS;
}

static VOID SmokeStop(VOID) {
    DECLARE_CONST_UNICODE_STRING(link, L"\\DosDevices\\Smoke");
    if (Smoke.Provider != NULL && NmrDeregisterProvider(Smoke.Provider) == STATUS_PENDING) {
        NT_VERIFY(NmrWaitForProviderDeregisterComplete(Smoke.Provider) == STATUS_SUCCESS);
    }
    if (Smoke.Thread != NULL) {
        KeSetEvent(&Smoke.Stop, IO_NO_INCREMENT, FALSE);
        KeWaitForSingleObject(Smoke.Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Smoke.Thread);
    }
    if (Smoke.ExTimer != NULL) {
        ExDeleteTimer(Smoke.ExTimer, TRUE, TRUE, NULL);
    }
    KeCancelTimer(&Smoke.Timer);
    KeRemoveQueueDpc(&Smoke.Dpc);
    KeFlushQueuedDpcs();
    if (Smoke.Calls != NULL) {
        ExWaitForRundownProtectionReleaseCacheAware(Smoke.Calls);
        ExFreeCacheAwareRundownProtection(Smoke.Calls);
    }
    ExDeleteNPagedLookasideList(&Smoke.RequestMemory);
    ExDeleteLookasideListEx(&Smoke.OtherMemory);
    if (Smoke.Device != NULL) {
        IoDeleteSymbolicLink((PUNICODE_STRING)&link);
        IoDeleteDevice(Smoke.Device);
    }
}

static VOID SmokeUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();
    SmokeStop();
}

NTSTATUS DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Smoke");
    DECLARE_CONST_UNICODE_STRING(link, L"\\DosDevices\\Smoke");
    OBJECT_ATTRIBUTES attributes;
    LARGE_INTEGER due;
    HANDLE thread;
    RTL_OSVERSIONINFOW version = {sizeof(version)};
    WCHAR text[32];
    NTSTATUS status;

    KdPrint(("%wZ\n", RegistryPath));
    ExInitializeDriverRuntime(DrvRtPoolNxOptIn);
    RtlZeroMemory(&Smoke, sizeof(Smoke));
    InitializeListHead(&Smoke.Bindings);
    ExInitializePushLock(&Smoke.BindingsLock);
    KeInitializeSpinLock(&Smoke.QueueLock);
    KeInitializeEvent(&Smoke.Stop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&Smoke.Work, 0, MAXLONG);
    KeInitializeMutex(&Smoke.Mutex, 0);
    ExInitializeFastMutex(&Smoke.FastMutex);
    InitializeSListHead(&Smoke.Requests);
    KeInitializeTimerEx(&Smoke.Timer, SynchronizationTimer);
    KeInitializeThreadedDpc(&Smoke.Dpc, SmokeDpc, &Smoke);
    KeSetImportanceDpc(&Smoke.Dpc, HighImportance);
    ExInitializeWorkItem(&Smoke.Tick, SmokeTick, &Smoke);
    ExInitializeNPagedLookasideList(&Smoke.RequestMemory, NULL, NULL, 0, sizeof(SMOKE_REQUEST), SMOKE_TAG, 0);
    status = ExInitializeLookasideListEx(&Smoke.OtherMemory, NULL, NULL, NonPagedPoolNx, 0, 64, SMOKE_TAG, 0);
    if (!NT_SUCCESS(status) || !NT_SUCCESS(RtlGetVersion(&version))) {
        return status;
    }
    DriverObject->DriverUnload = SmokeUnload;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = SmokeCreate;
    status = IoCreateDevice(DriverObject, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &Smoke.Device);
    if (!NT_SUCCESS(status)) {
        goto Exit;
    }
    status = IoCreateSymbolicLink((PUNICODE_STRING)&link, &name);
    if (!NT_SUCCESS(status)) {
        goto Exit;
    }
    Smoke.Calls = ExAllocateCacheAwareRundownProtection(NonPagedPoolNx, SMOKE_TAG);
    Smoke.ExTimer = ExAllocateTimer(SmokeExTimer, &Smoke.Ticks, EX_TIMER_HIGH_RESOLUTION);
    if (Smoke.Calls == NULL || Smoke.ExTimer == NULL || !NT_SUCCESS(RtlStringCbCopyW(text, sizeof(text), L"smoke"))) {
        status = STATUS_INSUFFICIENT_RESOURCES;
        goto Exit;
    }
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, &attributes, NULL, NULL, SmokeThread, NULL);
    if (!NT_SUCCESS(status)) {
        goto Exit;
    }
    status = ObReferenceObjectByHandle(thread, SYNCHRONIZE, *PsThreadType, KernelMode, (PVOID *)&Smoke.Thread, NULL);
    NT_VERIFY(NT_SUCCESS(ZwClose(thread)));
    if (!NT_SUCCESS(status)) {
        goto Exit;
    }
    due.QuadPart = -(LONGLONG)KeQueryTimeIncrement();
    KeSetTimerEx(&Smoke.Timer, due, 10, &Smoke.Dpc);
    ExSetTimer(Smoke.ExTimer, due.QuadPart, 0, NULL);
    status = NmrRegisterProvider(&SmokeCharacteristics, &Smoke, &Smoke.Provider);

Exit:
    if (!NT_SUCCESS(status)) {
        SmokeStop();
    }
    return status;
}
