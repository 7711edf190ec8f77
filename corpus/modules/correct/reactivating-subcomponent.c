// nmrfuzz: module
// summary: Provider that a thread activates, deactivates and activates again with the same structures.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Each activation is one registration, each deactivation one deregistration with its wait, so the structures are free
// when the next activation uses them. Unload first ends the thread, and then deactivates what it has left active.

#include <ntddk.h>
#include <netioddk.h>

#define TIDE_POOL_TAG 'ediT'
#define TIDE_ACTIVATIONS 2
#define TIDE_PERIOD (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _TIDE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} TIDE_CLIENT, *PTIDE_CLIENT;

typedef struct _TIDE_PROVIDER_DISPATCH {
    LONG(NTAPI *Level)(_In_ PVOID ProviderBindingContext);
} TIDE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TideUnload;
static KSTART_ROUTINE TideThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN TideAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TideDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TideCleanupBindingContext;

static const NPIID TideNpiId = { 0xd9620ad5, 0x8cfb, 0x533f, { 0x8f, 0x0b, 0xe4, 0xaa, 0x0d, 0xdd, 0xb9, 0xdb } };
static const NPI_MODULEID TideModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x65412c03, 0x64ed, 0x5e59, { 0x87, 0x49, 0x31, 0xc7, 0x18, 0x4d, 0xad, 0x65 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TideCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TideAttachClient,
    TideDetachClient,
    TideCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TideNpiId, &TideModuleId, 0, NULL }
};

static PKTHREAD TideThreadObject;
static KEVENT TideStop;
static LONG TideLevel; // Attached clients.
static KSPIN_LOCK TideLock;
_Guarded_by_(TideLock) static HANDLE TideProviderHandle;
_Guarded_by_(TideLock) static BOOLEAN TideActive;

static LONG NTAPI
TideGetLevel(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&TideLevel, 0, 0);
}

static const TIDE_PROVIDER_DISPATCH TideDispatch = { TideGetLevel };

// A subcomponent that cannot be activated stays inactive; the next period tries again.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
TideActivate(VOID)
{
    HANDLE ProviderHandle;
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrRegisterProvider(&TideCharacteristics, NULL, &ProviderHandle);

    if (NT_SUCCESS(Status)) {
        KeAcquireSpinLock(&TideLock, &OldIrql);
        TideProviderHandle = ProviderHandle;
        TideActive = TRUE;
        KeReleaseSpinLock(&TideLock, OldIrql);
    }
}

// Whoever finds the subcomponent active is the one to deregister it.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
TideDeactivate(VOID)
{
    HANDLE ProviderHandle;
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TideLock, &OldIrql);
    Claimed = TideActive;
    TideActive = FALSE;
    ProviderHandle = TideProviderHandle;
    KeReleaseSpinLock(&TideLock, OldIrql);

    if (Claimed && NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

// Lets one period pass. TRUE: the thread shall end.
_Must_inspect_result_
static BOOLEAN
TideWaitPeriod(VOID)
{
    LARGE_INTEGER Period;

    Period.QuadPart = TIDE_PERIOD;
    return KeWaitForSingleObject(&TideStop, Executive, KernelMode, FALSE, &Period) == STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
TideThread(PVOID StartContext)
{
    ULONG Activation;

    UNREFERENCED_PARAMETER(StartContext);

    for (Activation = 0; Activation < TIDE_ACTIVATIONS; Activation++) {
        TideActivate();
        if (TideWaitPeriod()) {
            break;
        }
        TideDeactivate();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TideAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTIDE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTIDE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TIDE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&TideLevel);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TideDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TideDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TideCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, TIDE_POOL_TAG);
    InterlockedDecrement(&TideLevel);
}

static VOID
TideStopThread(VOID)
{
    KeSetEvent(&TideStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(TideThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(TideThreadObject);
}

_Use_decl_annotations_
static VOID
TideUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    TideStopThread();
    TideDeactivate();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TideUnload;

    KeInitializeEvent(&TideStop, NotificationEvent, FALSE);
    KeInitializeSpinLock(&TideLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, TideThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&TideThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}
