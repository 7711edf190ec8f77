// nmrfuzz: module
// summary: Provider that registers again under the spin lock that guards the note of its registration.
// provides: 1
// consumes: 0
// expect: irql
// rule: R19
// needs: the provider is activated a second time
// interleaving: no
// hardness: 1 schedules; 1000+ run to completion

// Each activation is one registration, each deactivation one deregistration with its wait, so the structures are free
// when the next activation uses them. Unload first ends the thread, and then deactivates what it has left active.

#include <ntddk.h>
#include <netioddk.h>

#define EQUINOX_POOL_TAG 'iuqE'
#define EQUINOX_ACTIVATIONS 2
#define EQUINOX_PERIOD (-100 * 1000 * 10) // 100 ms in 100 ns units, relative

typedef struct _EQUINOX_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} EQUINOX_CLIENT, *PEQUINOX_CLIENT;

typedef struct _EQUINOX_PROVIDER_DISPATCH {
    LONG(NTAPI *Level)(_In_ PVOID ProviderBindingContext);
} EQUINOX_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EquinoxUnload;
static KSTART_ROUTINE EquinoxThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN EquinoxAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN EquinoxDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN EquinoxCleanupBindingContext;

static const NPIID EquinoxNpiId = { 0x811d8375, 0xe6ab, 0x5681, { 0x9b, 0xb5, 0x47, 0xad, 0xae, 0x98, 0xdd, 0x9a } };
static const NPI_MODULEID EquinoxModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x41ec2bfe, 0xacdc, 0x51e6, { 0xab, 0xbe, 0xe7, 0xc2, 0x56, 0xec, 0xae, 0x51 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS EquinoxCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    EquinoxAttachClient,
    EquinoxDetachClient,
    EquinoxCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EquinoxNpiId, &EquinoxModuleId, 0, NULL }
};

static PKTHREAD EquinoxThreadObject;
static KEVENT EquinoxStop;
static LONG EquinoxLevel; // Attached clients.
static KSPIN_LOCK EquinoxLock;
_Guarded_by_(EquinoxLock) static HANDLE EquinoxProviderHandle;
_Guarded_by_(EquinoxLock) static BOOLEAN EquinoxActive;

static LONG NTAPI
EquinoxGetLevel(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return InterlockedCompareExchange(&EquinoxLevel, 0, 0);
}

static const EQUINOX_PROVIDER_DISPATCH EquinoxDispatch = { EquinoxGetLevel };

// A subcomponent that cannot be activated stays inactive; the next period tries again.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
EquinoxActivate(VOID)
{
    HANDLE ProviderHandle;
    NTSTATUS Status;
    KIRQL OldIrql;

    Status = NmrRegisterProvider(&EquinoxCharacteristics, NULL, &ProviderHandle);

    if (NT_SUCCESS(Status)) {
        KeAcquireSpinLock(&EquinoxLock, &OldIrql);
        EquinoxProviderHandle = ProviderHandle;
        EquinoxActive = TRUE;
        KeReleaseSpinLock(&EquinoxLock, OldIrql);
    }
}

// As EquinoxActivate, but not to be overtaken by Unload.
static VOID
EquinoxReactivate(VOID)
{
    KIRQL OldIrql;

    // Defect: registering takes PASSIVE_LEVEL, and runs attach callbacks.
    KeAcquireSpinLock(&EquinoxLock, &OldIrql);
    if (NT_SUCCESS(NmrRegisterProvider(&EquinoxCharacteristics, NULL, &EquinoxProviderHandle))) {
        EquinoxActive = TRUE;
    }
    KeReleaseSpinLock(&EquinoxLock, OldIrql);
}

// Whoever finds the subcomponent active is the one to deregister it.
_IRQL_requires_(PASSIVE_LEVEL)
static VOID
EquinoxDeactivate(VOID)
{
    HANDLE ProviderHandle;
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&EquinoxLock, &OldIrql);
    Claimed = EquinoxActive;
    EquinoxActive = FALSE;
    ProviderHandle = EquinoxProviderHandle;
    KeReleaseSpinLock(&EquinoxLock, OldIrql);

    if (Claimed && NmrDeregisterProvider(ProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }
}

// Lets one period pass. TRUE: the thread shall end.
_Must_inspect_result_
static BOOLEAN
EquinoxWaitPeriod(VOID)
{
    LARGE_INTEGER Period;

    Period.QuadPart = EQUINOX_PERIOD;
    return KeWaitForSingleObject(&EquinoxStop, Executive, KernelMode, FALSE, &Period) == STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID
EquinoxThread(PVOID StartContext)
{
    ULONG Activation;

    UNREFERENCED_PARAMETER(StartContext);

    for (Activation = 0; Activation < EQUINOX_ACTIVATIONS; Activation++) {
        if (Activation == 0) {
            EquinoxActivate();
        } else {
            EquinoxReactivate();
        }
        if (EquinoxWaitPeriod()) {
            break;
        }
        EquinoxDeactivate();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EquinoxAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PEQUINOX_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PEQUINOX_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), EQUINOX_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&EquinoxLevel);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &EquinoxDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EquinoxDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EquinoxCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, EQUINOX_POOL_TAG);
    InterlockedDecrement(&EquinoxLevel);
}

static VOID
EquinoxStopThread(VOID)
{
    KeSetEvent(&EquinoxStop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(EquinoxThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(EquinoxThreadObject);
}

_Use_decl_annotations_
static VOID
EquinoxUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    EquinoxStopThread();
    EquinoxDeactivate();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EquinoxUnload;

    KeInitializeEvent(&EquinoxStop, NotificationEvent, FALSE);
    KeInitializeSpinLock(&EquinoxLock);

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EquinoxThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EquinoxThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}
