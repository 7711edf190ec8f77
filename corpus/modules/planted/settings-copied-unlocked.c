// nmrfuzz: module
// summary: Provider whose attach callbacks copy a block of settings while its thread changes them field by field.
// provides: 1
// consumes: 0
// expect: buffer-overflow, data-race
// rule: none
// needs: a client is attached while the thread changes the settings
// interleaving: yes
// hardness: 90 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SNIPE_POOL_TAG 'pinS'
#define SNIPE_WINDOW 64 // bytes

typedef struct _SNIPE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SNIPE_PROVIDER_DISPATCH;

typedef struct _SNIPE_SETTINGS {
    ULONG Offset; // Offset + Length is at most SNIPE_WINDOW.
    ULONG Length;
    ULONG Generation;
    ULONG Readers;
} SNIPE_SETTINGS, *PSNIPE_SETTINGS;

typedef struct _SNIPE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    UCHAR Window[SNIPE_WINDOW];
} SNIPE_CLIENT, *PSNIPE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SnipeUnload;
static KSTART_ROUTINE SnipeThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN SnipeAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SnipeDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SnipeCleanupBindingContext;

static const NPIID SnipeNpiId = { 0xe2bf42fb, 0x9ce4, 0x5d77, { 0xb3, 0xef, 0x06, 0x27, 0x11, 0x5b, 0x14, 0x68 } };
static const NPI_MODULEID SnipeModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x7fdd6a14, 0x5c50, 0x5a89, { 0xaf, 0x7b, 0x48, 0x1c, 0x9d, 0xa1, 0x16, 0xf9 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SnipeCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SnipeAttachClient,
    SnipeDetachClient,
    SnipeCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SnipeNpiId, &SnipeModuleId, 0, NULL }
};

static HANDLE SnipeProviderHandle;
static PKTHREAD SnipeThreadObject;
static KEVENT SnipeStop;
static KSEMAPHORE SnipeWork; // One count for each change of the settings that is due.
static SNIPE_SETTINGS SnipeSettings = { 0, SNIPE_WINDOW, 0, 0 };
static LONG SnipeTraced;

static ULONG NTAPI
SnipeVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SNIPE_PROVIDER_DISPATCH SnipeDispatch = { SnipeVersion };

// The number of the next line in the log.
static VOID
SnipeTrace(VOID)
{
    InterlockedIncrement(&SnipeTraced);
}

// Lets the window begin at its start or in its last quarter, in turns.
static VOID
SnipeChangeSettings(VOID)
{
    SnipeTrace();
    SnipeSettings.Generation++;
    if ((SnipeSettings.Generation & 1) != 0) {
        SnipeSettings.Offset = SNIPE_WINDOW / 4 * 3;
        SnipeSettings.Length = SNIPE_WINDOW / 4;
    } else {
        SnipeSettings.Offset = 0;
        SnipeSettings.Length = SNIPE_WINDOW;
    }
    SnipeTrace();
}

_Use_decl_annotations_
static VOID
SnipeThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&SnipeWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&SnipeStop) != 0) {
            break;
        }
        SnipeChangeSettings();
    }
}

static VOID
SnipeCopySettings(_Out_ PSNIPE_SETTINGS Copy)
{
    SnipeTrace();
    // Defect: the thread may be in the midst of a change.
    *Copy = SnipeSettings;
    SnipeTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SnipeAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    SNIPE_SETTINGS Settings;
    PSNIPE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSNIPE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SNIPE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    SnipeCopySettings(&Settings);
    RtlFillMemory(Client->Window + Settings.Offset, Settings.Length, 0xff);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SnipeDispatch;

    KeReleaseSemaphore(&SnipeWork, IO_NO_INCREMENT, 1, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SnipeDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SnipeCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SNIPE_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
SnipeStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, SnipeThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&SnipeThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
SnipeStopThread(VOID)
{
    KeSetEvent(&SnipeStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&SnipeWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(SnipeThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(SnipeThreadObject);
}

_Use_decl_annotations_
static VOID
SnipeUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SnipeProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SnipeProviderHandle);
    }

    SnipeStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SnipeUnload;
    KeInitializeEvent(&SnipeStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&SnipeWork, 0, MAXLONG);

    Status = SnipeStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SnipeCharacteristics, NULL, &SnipeProviderHandle);
    if (!NT_SUCCESS(Status)) {
        SnipeStopThread();
    }

    return Status;
}
