// nmrfuzz: module
// summary: Provider whose attach callbacks hold the push lock shared while they count into the block that it guards.
// provides: 1
// consumes: 0
// expect: data-race
// rule: none
// needs: two clients are attached at the same moment
// interleaving: yes
// hardness: 105 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SORA_POOL_TAG 'aroS'
#define SORA_WINDOW 64 // bytes

typedef struct _SORA_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SORA_PROVIDER_DISPATCH;

typedef struct _SORA_SETTINGS {
    ULONG Offset; // Offset + Length is at most SORA_WINDOW.
    ULONG Length;
    ULONG Generation;
    ULONG Readers;
} SORA_SETTINGS, *PSORA_SETTINGS;

typedef struct _SORA_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    UCHAR Window[SORA_WINDOW];
} SORA_CLIENT, *PSORA_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SoraUnload;
static KSTART_ROUTINE SoraThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SoraAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SoraDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SoraCleanupBindingContext;

static const NPIID SoraNpiId = { 0x484f7ef2, 0x1831, 0x5a0a, { 0xbd, 0xd0, 0x06, 0x8f, 0xab, 0x2c, 0x72, 0xf4 } };
static const NPI_MODULEID SoraModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd015b0d5, 0xb046, 0x596e, { 0x88, 0x5a, 0x15, 0x90, 0x21, 0xb1, 0x94, 0xb4 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SoraCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SoraAttachClient,
    SoraDetachClient,
    SoraCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SoraNpiId, &SoraModuleId, 0, NULL }
};

static HANDLE SoraProviderHandle;
static PKTHREAD SoraThreadObject;
static KEVENT SoraStop;
static KSEMAPHORE SoraWork; // One count for each change of the settings that is due.
static EX_PUSH_LOCK SoraLock;
static SORA_SETTINGS SoraSettings = { 0, SORA_WINDOW, 0, 0 };
static LONG SoraTraced;

static ULONG NTAPI
SoraVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SORA_PROVIDER_DISPATCH SoraDispatch = { SoraVersion };

// The number of the next line in the log.
static VOID
SoraTrace(VOID)
{
    InterlockedIncrement(&SoraTraced);
}

// Lets the window begin at its start or in its last quarter, in turns.
static VOID
SoraChangeSettings(VOID)
{
    SoraTrace();
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&SoraLock);
    SoraSettings.Generation++;
    if ((SoraSettings.Generation & 1) != 0) {
        SoraSettings.Offset = SORA_WINDOW / 4 * 3;
        SoraSettings.Length = SORA_WINDOW / 4;
    } else {
        SoraSettings.Offset = 0;
        SoraSettings.Length = SORA_WINDOW;
    }
    ExReleasePushLockExclusive(&SoraLock);
    KeLeaveCriticalRegion();
    SoraTrace();
}

_Use_decl_annotations_
static VOID
SoraThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&SoraWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SoraStop) != 0) {
            break;
        }
        SoraChangeSettings();
    }
}

static VOID
SoraCopySettings(_Out_ PSORA_SETTINGS Copy)
{
    SoraTrace();
    KeEnterCriticalRegion();
    ExAcquirePushLockShared(&SoraLock);
    // Defect: others may hold the lock shared, too.
    SoraSettings.Readers++;
    *Copy = SoraSettings;
    ExReleasePushLockShared(&SoraLock);
    KeLeaveCriticalRegion();
    SoraTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SoraAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    SORA_SETTINGS Settings;
    PSORA_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSORA_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SORA_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    SoraCopySettings(&Settings);
    RtlFillMemory(Client->Window + Settings.Offset, Settings.Length, 0xff);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SoraDispatch;

    KeReleaseSemaphore(&SoraWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SoraDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SoraCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SORA_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
SoraStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SoraThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SoraThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
SoraStopThread(VOID)
{
    KeSetEvent(&SoraStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&SoraWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(SoraThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SoraThreadObject);
}

_Use_decl_annotations_
static VOID
SoraUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SoraProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SoraProviderHandle);
    }

    SoraStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SoraUnload;
    KeInitializeEvent(&SoraStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&SoraWork, 0, MAXLONG);
    ExInitializePushLock(&SoraLock);

    Status = SoraStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SoraCharacteristics, NULL, &SoraProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SoraStopThread();
    }

    return Status;
}
