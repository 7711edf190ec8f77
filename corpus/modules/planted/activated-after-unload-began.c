// nmrfuzz: module
// summary: Provider whose Unload deactivates it first and only then ends the thread that may activate it once more.
// provides: 1
// consumes: 0
// expect: unload-registered, bad-call
// rule: R30, R89, R29
// needs: the thread activates it between the deactivation by Unload and its own end
// interleaving: yes
// hardness: 1 schedules; 1 run to completion

// Each activation is one registration, each deactivation one deregistration with its wait, so the structures are free
// when the next activation uses them.

#include <ntddk.h>
#include <netioddk.h>

#define MONSOON_POOL_TAG 'snoM'
#define MONSOON_ACTIVATIONS 2
#define MONSOON_PERIOD (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _MONSOON_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} MONSOON_CLIENT, *PMONSOON_CLIENT;

typedef struct _MONSOON_PROVIDER_DISPATCH {
    LONG(NTAPI *Level)(_In_ PVOID ProviderBindingContext);
} MONSOON_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MonsoonUnload;
static KSTART_ROUTINE MonsoonThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN MonsoonAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN MonsoonDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN MonsoonCleanupBindingContext;

static const NPIID MonsoonNpiId = { 0x2b6c027d, 0x2a26, 0x5959, { 0x9c, 0x8f, 0xa1, 0x16, 0x75, 0x5e, 0x31, 0x27 } };
static const NPI_MODULEID MonsoonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4bec8d0e, 0x139e, 0x5615, { 0xa2, 0x6d, 0x54, 0xd4, 0x45, 0x07, 0xf1, 0xca } } }
};

static const NPI_PROVIDER_CHARACTERISTICS MonsoonCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    MonsoonAttachClient,
    MonsoonDetachClient,
    MonsoonCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MonsoonNpiId, &MonsoonModuleId, 0, NULL }
};

static PKTHREAD MonsoonThreadObject;
static KEVENT MonsoonStop;
static LONG MonsoonLevel; // Attached clients.
static KSPIN_LOCK MonsoonLock;
_Guarded_by_(MonsoonLock) static HANDLE MonsoonProviderHandle;
_Guarded_by_(MonsoonLock) static BOOLEAN MonsoonActive;

static LONG NTAPI
MonsoonGetLevel(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&MonsoonLevel, 0, 0);
}

static const MONSOON_PROVIDER_DISPATCH MonsoonDispatch = { MonsoonGetLevel };

// A subcomponent that cannot be activated stays inactive; the next period tries again.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
MonsoonActivate(VOID)
{
    HANDLE ProviderHandle;
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrRegisterProvider(&MonsoonCharacteristics, NULL, &ProviderHandle);

    if (NT_SUCCESS(Status)) {
        KeAcquireSpinLock(&MonsoonLock, &OldIrql);
        MonsoonProviderHandle = ProviderHandle;
        MonsoonActive = TRUE;
        KeReleaseSpinLock(&MonsoonLock, OldIrql);
    }
}

// Whoever finds the subcomponent active is the one to deregister it.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
MonsoonDeactivate(VOID)
{
    HANDLE ProviderHandle;
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&MonsoonLock, &OldIrql);
    Claimed = MonsoonActive;
    MonsoonActive = FALSE;
    ProviderHandle = MonsoonProviderHandle;
    KeReleaseSpinLock(&MonsoonLock, OldIrql);

    if (Claimed && NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

// Lets one period pass. TRUE: the thread shall end.
_Must_inspect_result_
static BOOLEAN
MonsoonWaitPeriod(VOID)
{
    LARGE_INTEGER Period;

    Period.QuadPart = MONSOON_PERIOD;
    return KeWaitForSingleObject(&MonsoonStop, Executive, KernelMode, FALSE, &Period) == STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
MonsoonThread(PVOID StartContext)
{
    ULONG Activation;

    UNREFERENCED_PARAMETER(StartContext);

    for (Activation = 0; Activation < MONSOON_ACTIVATIONS; Activation++) {
        MonsoonActivate();
        if (MonsoonWaitPeriod()) {
            break;
        }
        MonsoonDeactivate();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MonsoonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PMONSOON_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PMONSOON_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), MONSOON_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&MonsoonLevel);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &MonsoonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MonsoonDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MonsoonCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, MONSOON_POOL_TAG);
    InterlockedDecrement(&MonsoonLevel);
}

static VOID
MonsoonStopThread(VOID)
{
    KeSetEvent(&MonsoonStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(MonsoonThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(MonsoonThreadObject);
}

_Use_decl_annotations_
static VOID
MonsoonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    // Defect: in the wrong order, for the thread may activate until it has ended.
    MonsoonDeactivate();
    MonsoonStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MonsoonUnload;

    KeInitializeEvent(&MonsoonStop, NotificationEvent, FALSE);
    KeInitializeSpinLock(&MonsoonLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, MonsoonThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&MonsoonThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}
