// nmrfuzz: module
// summary: Provider that passes no place for the registration handle when it is activated again, as it has one already.
// provides: 1
// consumes: 0
// expect: bad-call
// rule: R20
// needs: the provider is activated a second time
// interleaving: no
// hardness: 1 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SOLSTICE_POOL_TAG 'sloS'
#define SOLSTICE_ACTIVATIONS 2
#define SOLSTICE_PERIOD (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _SOLSTICE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} SOLSTICE_CLIENT, *PSOLSTICE_CLIENT;

typedef struct _SOLSTICE_PROVIDER_DISPATCH {
    LONG(NTAPI *Level)(_In_ PVOID ProviderBindingContext);
} SOLSTICE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SolsticeUnload;
static KSTART_ROUTINE SolsticeThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SolsticeAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SolsticeDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SolsticeCleanupBindingContext;

static const NPIID SolsticeNpiId = { 0xffa91180, 0x2d44, 0x5f9c, { 0xba, 0x67, 0xf2, 0x0b, 0xfc, 0x49, 0xc1, 0x96 } };
static const NPI_MODULEID SolsticeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd0f7a235, 0x54ae, 0x596c, { 0x86, 0x63, 0x60, 0xe1, 0x01, 0xbd, 0x76, 0xd3 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SolsticeCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SolsticeAttachClient,
    SolsticeDetachClient,
    SolsticeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SolsticeNpiId, &SolsticeModuleId, 0, NULL }
};

static PKTHREAD SolsticeThreadObject;
static KEVENT SolsticeStop;
static LONG SolsticeLevel; // Attached clients.
static KSPIN_LOCK SolsticeLock;
static HANDLE SolsticeProviderHandle;
_Guarded_by_(SolsticeLock) static BOOLEAN SolsticeActive;

static LONG NTAPI
SolsticeGetLevel(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&SolsticeLevel, 0, 0);
}

static const SOLSTICE_PROVIDER_DISPATCH SolsticeDispatch = { SolsticeGetLevel };

// A subcomponent that cannot be activated stays inactive; the next period tries again.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
SolsticeActivate(VOID)
{
    NTSTATUS Status;
    KIRQL OldIrql;

    // Defect: each activation is a new registration with a handle of its own.
    Status = NmrRegisterProvider(
        &SolsticeCharacteristics, NULL, SolsticeProviderHandle == NULL ? &SolsticeProviderHandle : NULL);

    if (NT_SUCCESS(Status)) {
        KeAcquireSpinLock(&SolsticeLock, &OldIrql);
        SolsticeActive = TRUE;
        KeReleaseSpinLock(&SolsticeLock, OldIrql);
    }
}

// Whoever finds the subcomponent active is the one to deregister it.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
SolsticeDeactivate(VOID)
{
    HANDLE ProviderHandle;
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&SolsticeLock, &OldIrql);
    Claimed = SolsticeActive;
    SolsticeActive = FALSE;
    ProviderHandle = SolsticeProviderHandle;
    KeReleaseSpinLock(&SolsticeLock, OldIrql);

    if (Claimed && NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

// Lets one period pass. TRUE: the thread shall end.
_Must_inspect_result_
static BOOLEAN
SolsticeWaitPeriod(VOID)
{
    LARGE_INTEGER Period;

    Period.QuadPart = SOLSTICE_PERIOD;
    return KeWaitForSingleObject(&SolsticeStop, Executive, KernelMode, FALSE, &Period) == STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
SolsticeThread(PVOID StartContext)
{
    ULONG Activation;

    UNREFERENCED_PARAMETER(StartContext);

    for (Activation = 0; Activation < SOLSTICE_ACTIVATIONS; Activation++) {
        SolsticeActivate();
        if (SolsticeWaitPeriod()) {
            break;
        }
        SolsticeDeactivate();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SolsticeAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSOLSTICE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSOLSTICE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SOLSTICE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&SolsticeLevel);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SolsticeDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SolsticeDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SolsticeCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SOLSTICE_POOL_TAG);
    InterlockedDecrement(&SolsticeLevel);
}

static VOID
SolsticeStopThread(VOID)
{
    KeSetEvent(&SolsticeStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(SolsticeThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SolsticeThreadObject);
}

_Use_decl_annotations_
static VOID
SolsticeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    SolsticeStopThread();
    SolsticeDeactivate();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SolsticeUnload;

    KeInitializeEvent(&SolsticeStop, NotificationEvent, FALSE);
    KeInitializeSpinLock(&SolsticeLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SolsticeThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SolsticeThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}
