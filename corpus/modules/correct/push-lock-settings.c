// nmrfuzz: module
// summary: Provider whose thread changes a block of settings under a push lock that attach callbacks hold shared to copy it.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

#include <ntddk.h>
#include <netioddk.h>

#define BLUETHROAT_POOL_TAG 'eulB'
#define BLUETHROAT_WINDOW 64 // bytes

typedef struct _BLUETHROAT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} BLUETHROAT_PROVIDER_DISPATCH;

typedef struct _BLUETHROAT_SETTINGS {
    ULONG Offset; // Offset + Length is at most BLUETHROAT_WINDOW.
    ULONG Length;
    ULONG Generation;
    ULONG Readers;
} BLUETHROAT_SETTINGS, *PBLUETHROAT_SETTINGS;

typedef struct _BLUETHROAT_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    UCHAR Window[BLUETHROAT_WINDOW];
} BLUETHROAT_CLIENT, *PBLUETHROAT_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BluethroatUnload;
static KSTART_ROUTINE BluethroatThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN BluethroatAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BluethroatDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BluethroatCleanupBindingContext;

static const NPIID BluethroatNpiId = { 0x9d023e0a, 0x2e43, 0x5450, { 0xb3, 0x50, 0xd1, 0x2b, 0x17, 0x34, 0xd3, 0xd6 } };
static const NPI_MODULEID BluethroatModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x7c39525f, 0x675d, 0x5842, { 0x8b, 0xd0, 0x68, 0x0c, 0xc7, 0x0a, 0xf4, 0x4c } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BluethroatCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BluethroatAttachClient,
    BluethroatDetachClient,
    BluethroatCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BluethroatNpiId, &BluethroatModuleId, 0, NULL }
};

static HANDLE BluethroatProviderHandle;
static PKTHREAD BluethroatThreadObject;
static KEVENT BluethroatStop;
static KSEMAPHORE BluethroatWork; // One count for each change of the settings that is due.
static EX_PUSH_LOCK BluethroatLock;
static BLUETHROAT_SETTINGS BluethroatSettings = { 0, BLUETHROAT_WINDOW, 0, 0 };

static ULONG NTAPI
BluethroatVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const BLUETHROAT_PROVIDER_DISPATCH BluethroatDispatch = { BluethroatVersion };

// Lets the window begin at its start or in its last quarter, in turns.
static VOID
BluethroatChangeSettings(VOID)
{
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(&BluethroatLock);
    BluethroatSettings.Generation++;
    if ((BluethroatSettings.Generation & 1) != 0) {
        BluethroatSettings.Offset = BLUETHROAT_WINDOW / 4 * 3;
        BluethroatSettings.Length = BLUETHROAT_WINDOW / 4;
    } else {
        BluethroatSettings.Offset = 0;
        BluethroatSettings.Length = BLUETHROAT_WINDOW;
    }
    ExReleasePushLockExclusive(&BluethroatLock);
    KeLeaveCriticalRegion();
}

_Use_decl_annotations_
static VOID
BluethroatThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&BluethroatWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&BluethroatStop) != 0) {
            break;
        }
        BluethroatChangeSettings();
    }
}

static VOID
BluethroatCopySettings(_Out_ PBLUETHROAT_SETTINGS Copy)
{
    KeEnterCriticalRegion();
    ExAcquirePushLockShared(&BluethroatLock);
    *Copy = BluethroatSettings;
    ExReleasePushLockShared(&BluethroatLock);
    KeLeaveCriticalRegion();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BluethroatAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    BLUETHROAT_SETTINGS Settings;
    PBLUETHROAT_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PBLUETHROAT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), BLUETHROAT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    BluethroatCopySettings(&Settings);
    RtlFillMemory(Client->Window + Settings.Offset, Settings.Length, 0xff);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &BluethroatDispatch;

    KeReleaseSemaphore(&BluethroatWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BluethroatDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BluethroatCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, BLUETHROAT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
BluethroatStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, BluethroatThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&BluethroatThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
BluethroatStopThread(VOID)
{
    KeSetEvent(&BluethroatStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&BluethroatWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(BluethroatThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(BluethroatThreadObject);
}

_Use_decl_annotations_
static VOID
BluethroatUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(BluethroatProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(BluethroatProviderHandle);
    }

    BluethroatStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BluethroatUnload;
    KeInitializeEvent(&BluethroatStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&BluethroatWork, 0, MAXLONG);
    ExInitializePushLock(&BluethroatLock);

    Status = BluethroatStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&BluethroatCharacteristics, NULL, &BluethroatProviderHandle);
    if (!NT_SUCCESS(Status)) {
        BluethroatStopThread();
    }

    return Status;
}
