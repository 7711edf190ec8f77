// nmrfuzz: module
// summary: Client whose detach callback waits for the rundown of its own uses, which it may not at DISPATCH_LEVEL.
// provides: 0
// consumes: 1
// expect: irql
// rule: R78, R79
// needs: detach at DISPATCH_LEVEL
// interleaving: no
// hardness: 35 schedules; 14 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define HARBOR_POOL_TAG 'braH'
#define HARBOR_THREADS 2

typedef struct _HARBOR_BINDING {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    EX_RUNDOWN_REF Uses;
    ULONG SamplesWanted; // Visits that the threads still owe this binding.
    LONG64 LastSample;
} HARBOR_BINDING, *PHARBOR_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HarborUnload;
static KSTART_ROUTINE HarborThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN HarborAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN HarborDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN HarborCleanupBindingContext;

static const NPIID HarborNpiId = { 0x57fb64c1, 0x3709, 0x5364, { 0x83, 0xc4, 0xab, 0x4b, 0x6b, 0x3c, 0x31, 0x2d } };
static const NPI_MODULEID HarborModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xdf2895fc, 0xd890, 0x574c, { 0xa6, 0xec, 0x95, 0x6f, 0x63, 0xd8, 0x81, 0xcf } } }
};

static const NPI_CLIENT_CHARACTERISTICS HarborCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    HarborAttachProvider,
    HarborDetachProvider,
    HarborCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HarborNpiId, &HarborModuleId, 0, NULL }
};

static HANDLE HarborClientHandle;
static PKTHREAD HarborThreads[HARBOR_THREADS];
static KEVENT HarborStop;
static KSEMAPHORE HarborWork; // One count for each visit owed, and one for each thread to stop.
static KSPIN_LOCK HarborLock;
_Guarded_by_(HarborLock) static LIST_ENTRY HarborBindings;

// Takes one owed visit and counts it as a use. NULL: nothing is owed (the binding went away before its visit, or the
// count was a request to stop).
_Must_inspect_result_
static PHARBOR_BINDING
HarborBeginUse(VOID)
{
    PHARBOR_BINDING Found = NULL;
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HarborLock, &OldIrql);
    for (Entry = HarborBindings.Flink; Entry != &HarborBindings; Entry = Entry->Flink) {
        PHARBOR_BINDING Binding = CONTAINING_RECORD(Entry, HARBOR_BINDING, Link);

        if (Binding->SamplesWanted != 0 && ExAcquireRundownProtection(&Binding->Uses)) {
            Binding->SamplesWanted--;
            Found = Binding;
            break;
        }
    }
    KeReleaseSpinLock(&HarborLock, OldIrql);
    return Found;
}

static VOID
HarborEndUse(_In_ PHARBOR_BINDING Binding)
{
    ExReleaseRundownProtection(&Binding->Uses);
}

_Use_decl_annotations_
static VOID
HarborThread(PVOID StartContext)
{
    PHARBOR_BINDING Binding;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&HarborWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&HarborStop) != 0) {
            break;
        }

        Binding = HarborBeginUse();
        if (Binding != NULL) {
            InterlockedExchange64(&Binding->LastSample, (LONG64)KeQueryInterruptTime());
            HarborEndUse(Binding);
        }
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HarborAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PHARBOR_BINDING Binding;
    NTSTATUS Status;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PHARBOR_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), HARBOR_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->SamplesWanted = HARBOR_THREADS;
    ExInitializeRundownProtection(&Binding->Uses);

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, HARBOR_POOL_TAG);
        return Status;
    }

    // The threads see the binding only from here on, with everything in it set. It cannot be detached before this
    // callback has returned.
    KeAcquireSpinLock(&HarborLock, &OldIrql);
    InsertTailList(&HarborBindings, &Binding->Link);
    KeReleaseSpinLock(&HarborLock, OldIrql);

    KeReleaseSemaphore(&HarborWork, IO_NO_INCREMENT, HARBOR_THREADS, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HarborDetachProvider(PVOID ClientBindingContext)
{
    PHARBOR_BINDING Binding = (PHARBOR_BINDING)ClientBindingContext;
    KIRQL OldIrql;

    KeAcquireSpinLock(&HarborLock, &OldIrql);
    RemoveEntryList(&Binding->Link);
    KeReleaseSpinLock(&HarborLock, OldIrql);

    // Defect: the callback may run at DISPATCH_LEVEL. It ought to pend and let the last use complete it.
    ExWaitForRundownProtectionRelease(&Binding->Uses);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HarborCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, HARBOR_POOL_TAG);
}

// Ends the first Count threads.
static VOID
HarborStopThreads(_In_ ULONG Count)
{
    ULONG Index;

    if (Count == 0) {
        return;
    }

    KeSetEvent(&HarborStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&HarborWork, IO_NO_INCREMENT, (LONG)Count, FALSE);

    for (Index = 0; Index < Count; Index++) {
        KeWaitForSingleObject(HarborThreads[Index], Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(HarborThreads[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
HarborStartThreads(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;
    ULONG Index;

    for (Index = 0; Index < HARBOR_THREADS; Index++) {
        Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, HarborThread, NULL);
        if (!NT_SUCCESS(Status)) {
            HarborStopThreads(Index);
            return Status;
        }

        // A fresh kernel handle with full access: this cannot fail.
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&HarborThreads[Index], NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
HarborUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(HarborClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(HarborClientHandle);
    }

    HarborStopThreads(HARBOR_THREADS);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HarborUnload;

    KeInitializeEvent(&HarborStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&HarborWork, 0, MAXLONG);
    KeInitializeSpinLock(&HarborLock);
    InitializeListHead(&HarborBindings);

    Status = HarborStartThreads();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterClient(&HarborCharacteristics, NULL, &HarborClientHandle);
    if (!NT_SUCCESS(Status)) {
        HarborStopThreads(HARBOR_THREADS);
    }

    return Status;
}
