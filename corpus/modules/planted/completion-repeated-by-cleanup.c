// nmrfuzz: module
// summary: Client whose cleanup callback completes a detach that was left pending, in case the last use has not.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle
// rule: R87, R69
// needs: a use is in progress when the detach callback runs
// interleaving: no
// hardness: 25 schedules; 1000+ run to completion

// One spin lock guards the list, each binding's count of uses and its Detaching flag. Under it the detach callback
// chooses between STATUS_SUCCESS and STATUS_PENDING, and under it a finishing use finds out that it was the last one,
// so exactly one of them ends the detach.

#include <ntddk.h>
#include <netioddk.h>

#define PROXY_POOL_TAG 'xorP'
#define PROXY_THREADS 2

typedef struct _PROXY_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG UsesInProgress;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    BOOLEAN Detaching;
    BOOLEAN Pended;
    LONG64 LastSample;
} PROXY_BINDING, *PPROXY_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ProxyUnload;
static KSTART_ROUTINE ProxyThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN ProxyAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ProxyDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ProxyCleanupBindingContext;

static const NPIID ProxyNpiId = { 0x0a00ae1e, 0x454a, 0x533e, { 0xb5, 0xf4, 0xa2, 0x92, 0x80, 0x32, 0x98, 0xe2 } };
static const NPI_MODULEID ProxyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6f7e5bc4, 0x1ad9, 0x50c6, { 0x83, 0xbb, 0x37, 0xfc, 0x61, 0xb6, 0xc2, 0xea } } }
};

static const NPI_CLIENT_CHARACTERISTICS ProxyCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ProxyAttachProvider,
    ProxyDetachProvider,
    ProxyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ProxyNpiId, &ProxyModuleId, 0, NULL }
};

static HANDLE ProxyClientHandle;
static PKTHREAD ProxyThreads[PROXY_THREADS];
static KEVENT ProxyStop;
static KSEMAPHORE ProxyWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK ProxyLock;
_Guarded_by_(ProxyLock) static LIST_ENTRY ProxyBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PPROXY_BINDING
ProxyBeginUse(VOID)
{
    PPROXY_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ProxyLock, &OldIrql);
    for (Entry = ProxyBindings.Flink; Entry != &ProxyBindings; Entry = Entry->Flink) {
        PPROXY_BINDING Binding = CONTAINING_RECORD(Entry, PROXY_BINDING, Link);

        if (Binding->SamplesWanted != 0) {
            Binding->SamplesWanted--;
            Binding->UsesInProgress++;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&ProxyLock, OldIrql);
    return Found;
}

static VOID
ProxyEndUse(_In_ PPROXY_BINDING Binding)
{
    HANDLE BindingHandle = Binding->BindingHandle;
    BOOLEAN Last;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ProxyLock, &OldIrql);
    Binding->UsesInProgress--;
    Last = Binding->Detaching && Binding->UsesInProgress == 0;
    KeReleaseSpinLock(&ProxyLock, OldIrql);

    // Not under the lock: cleanup may run in here.
    if (Last) {
        NmrClientDetachProviderComplete(BindingHandle);
    }
}

_Use_decl_annotations_
static VOID
ProxyThread(PVOID StartContext)
{
    PPROXY_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&ProxyWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&ProxyStop) != 0) {
            break;
        }

        Binding = ProxyBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            ProxyEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ProxyAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPROXY_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PPROXY_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PROXY_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = PROXY_THREADS;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PROXY_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&ProxyLock, &OldIrql);
    InsertTailList(&ProxyBindings, &Binding->Link);
    KeReleaseSpinLock(&ProxyLock, OldIrql);

    KeReleaseSemaphore(&ProxyWork, IO_NO_INCREMENT, PROXY_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ProxyDetachProvider(PVOID ClientBindingContext)
{
    PPROXY_BINDING Binding = (PPROXY_BINDING)ClientBindingContext;
    BOOLEAN Busy;
    KIRQL OldIrql;

    KeAcquireSpinLock(&ProxyLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    Binding->Detaching = TRUE;
    Busy = Binding->UsesInProgress != 0;
    Binding->Pended = Busy;
    KeReleaseSpinLock(&ProxyLock, OldIrql);

    return Busy ? STATUS_PENDING : STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ProxyCleanupBindingContext(PVOID ClientBindingContext)
{
    PPROXY_BINDING Binding = (PPROXY_BINDING)ClientBindingContext;

    // Defect: cleanup comes only because the detach has been completed.
    if (Binding->Pended) {
        NmrClientDetachProviderComplete(Binding->BindingHandle);
    }
    ExFreePoolWithTag(Binding, PROXY_POOL_TAG);
}

// Ends the first Count threads.
static VOID
ProxyStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&ProxyStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&ProxyWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(ProxyThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(ProxyThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
ProxyStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < PROXY_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, ProxyThread, NULL);
        if (!NT_SUCCESS(Status)) {
            ProxyStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&ProxyThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
ProxyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // A pending detach needs its thread, so the threads end after the wait. They also must have ended before the
    // image goes: the one that completed the last detach may still be in ProxyEndUse.
    if (NmrDeregisterClient(ProxyClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(ProxyClientHandle);
    }

    ProxyStopThreads(PROXY_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ProxyUnload;

    KeInitializeEvent(&ProxyStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&ProxyWork, 0, MAXLONG);
    KeInitializeSpinLock(&ProxyLock);
    InitializeListHead(&ProxyBindings);

    Status = ProxyStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&ProxyCharacteristics, NULL, &ProxyClientHandle);
    if (!NT_SUCCESS(Status)) {
        ProxyStopThreads(PROXY_THREADS);
    }

    return Status;
}
