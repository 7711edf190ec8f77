// nmrfuzz: module
// summary: Provider that takes itself for active when its second registration has failed, as it has a handle.
// provides: 1
// consumes: 0
// expect: bad-handle
// rule: R21, R102
// needs: the second registration fails
// interleaving: no
// hardness: 59 schedules; 1000+ run to completion

// Each activation is one registration, each deactivation one deregistration with its wait, so the structures are free
// when the next activation uses them. Unload first ends the thread, and then deactivates what it has left active.

#include <ntddk.h>
#include <netioddk.h>

#define EDDY_POOL_TAG 'yddE'
#define EDDY_ACTIVATIONS 2
#define EDDY_PERIOD (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _EDDY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} EDDY_CLIENT, *PEDDY_CLIENT;

typedef struct _EDDY_PROVIDER_DISPATCH {
    LONG(NTAPI *Level)(_In_ PVOID ProviderBindingContext);
} EDDY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EddyUnload;
static KSTART_ROUTINE EddyThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN EddyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN EddyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN EddyCleanupBindingContext;

static const NPIID EddyNpiId = { 0xa224eb79, 0x5ed5, 0x5dbf, { 0x81, 0x65, 0xf0, 0xc3, 0x88, 0x89, 0x97, 0xf0 } };
static const NPI_MODULEID EddyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfb8a9f48, 0xa7e8, 0x5f6b, { 0xb9, 0x57, 0x62, 0x4f, 0x50, 0x35, 0xe7, 0x03 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS EddyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    EddyAttachClient,
    EddyDetachClient,
    EddyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EddyNpiId, &EddyModuleId, 0, NULL }
};

static PKTHREAD EddyThreadObject;
static KEVENT EddyStop;
static LONG EddyLevel; // Attached clients.
static KSPIN_LOCK EddyLock;
_Guarded_by_(EddyLock) static HANDLE EddyProviderHandle;
_Guarded_by_(EddyLock) static BOOLEAN EddyActive;

static LONG NTAPI
EddyGetLevel(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&EddyLevel, 0, 0);
}

static const EDDY_PROVIDER_DISPATCH EddyDispatch = { EddyGetLevel };

// A subcomponent that cannot be activated stays inactive; the next period tries again.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
EddyActivate(VOID)
{
    HANDLE ProviderHandle;
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrRegisterProvider(&EddyCharacteristics, NULL, &ProviderHandle);

    // Defect: after a failure the handle that is there belongs to the activation before.
    KeAcquireSpinLock(&EddyLock, &OldIrql);
    if (NT_SUCCESS(Status)) {
        EddyProviderHandle = ProviderHandle;
    }
    EddyActive = EddyProviderHandle != NULL;
    KeReleaseSpinLock(&EddyLock, OldIrql);
}

// Whoever finds the subcomponent active is the one to deregister it.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
EddyDeactivate(VOID)
{
    HANDLE ProviderHandle;
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EddyLock, &OldIrql);
    Claimed = EddyActive;
    EddyActive = FALSE;
    ProviderHandle = EddyProviderHandle;
    KeReleaseSpinLock(&EddyLock, OldIrql);

    if (Claimed && NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

// Lets one period pass. TRUE: the thread shall end.
_Must_inspect_result_
static BOOLEAN
EddyWaitPeriod(VOID)
{
    LARGE_INTEGER Period;

    Period.QuadPart = EDDY_PERIOD;
    return KeWaitForSingleObject(&EddyStop, Executive, KernelMode, FALSE, &Period) == STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
EddyThread(PVOID StartContext)
{
    ULONG Activation;

    UNREFERENCED_PARAMETER(StartContext);

    for (Activation = 0; Activation < EDDY_ACTIVATIONS; Activation++) {
        EddyActivate();
        if (EddyWaitPeriod() || Activation + 1 == EDDY_ACTIVATIONS) {
            break;
        }
        EddyDeactivate();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EddyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PEDDY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PEDDY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), EDDY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&EddyLevel);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &EddyDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EddyDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EddyCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, EDDY_POOL_TAG);
    InterlockedDecrement(&EddyLevel);
}

static VOID
EddyStopThread(VOID)
{
    KeSetEvent(&EddyStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(EddyThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(EddyThreadObject);
}

_Use_decl_annotations_
static VOID
EddyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    EddyStopThread();
    EddyDeactivate();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EddyUnload;

    KeInitializeEvent(&EddyStop, NotificationEvent, FALSE);
    KeInitializeSpinLock(&EddyLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EddyThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EddyThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}
