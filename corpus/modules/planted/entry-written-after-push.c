// nmrfuzz: module
// summary: Provider whose attach callbacks push an entry to the thread and then write the time into it.
// provides: 1
// consumes: 0
// expect: use-after-free, data-race
// rule: none
// needs: the thread pops the entry at once
// interleaving: yes
// hardness: 116 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define PUFFIN_POOL_TAG 'ffuP'

typedef struct _PUFFIN_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} PUFFIN_PROVIDER_DISPATCH;

typedef struct _PUFFIN_ENTRY {
    SLIST_ENTRY Link;
    ULONG Number;
    ULONGLONG Pushed; // interrupt time
} PUFFIN_ENTRY, *PPUFFIN_ENTRY;

typedef struct _PUFFIN_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} PUFFIN_CLIENT, *PPUFFIN_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PuffinUnload;
static KSTART_ROUTINE PuffinThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PuffinAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PuffinDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PuffinCleanupBindingContext;

static const NPIID PuffinNpiId = { 0x3fbc8710, 0x0034, 0x57dd, { 0xb6, 0x72, 0x00, 0xcb, 0x3e, 0x4f, 0x1a, 0x6a } };
static const NPI_MODULEID PuffinModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb4744306, 0xbdd8, 0x51e9, { 0x93, 0x7f, 0xa7, 0x9c, 0x4f, 0xf2, 0x5c, 0xc4 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PuffinCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PuffinAttachClient,
    PuffinDetachClient,
    PuffinCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PuffinNpiId, &PuffinModuleId, 0, NULL }
};

static HANDLE PuffinProviderHandle;
static PKTHREAD PuffinThreadObject;
static KEVENT PuffinStop;
static KSEMAPHORE PuffinWork; // One count for each entry.
static SLIST_HEADER PuffinEntries;
static LONG PuffinTraced;

// Of the thread alone.
static ULONG PuffinLastNumber;
static ULONGLONG PuffinLastPushed;

static ULONG NTAPI
PuffinVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const PUFFIN_PROVIDER_DISPATCH PuffinDispatch = { PuffinVersion };

// The number of the next line in the log.
static VOID
PuffinTrace(VOID)
{
    InterlockedIncrement(&PuffinTraced);
}

static VOID
PuffinTakeEntries(VOID)
{
    PSLIST_ENTRY Link;

    PuffinTrace();
    Link = InterlockedFlushSList(&PuffinEntries);
    while (Link != NULL) {
        PPUFFIN_ENTRY Entry = CONTAINING_RECORD(Link, PUFFIN_ENTRY, Link);

        Link = Link->Next;
        PuffinLastNumber = Entry->Number;
        PuffinLastPushed = Entry->Pushed;
        ExFreePoolWithTag(Entry, PUFFIN_POOL_TAG);
    }
    PuffinTrace();
}

_Use_decl_annotations_
static VOID
PuffinThread(PVOID StartContext)
{
    BOOLEAN Stop;

    UNREFERENCED_PARAMETER(StartContext);

    // All entries have been pushed when the event is set, so none is left behind.
    do {
        KeWaitForSingleObject(&PuffinWork, Executive, KernelMode, FALSE, NULL);
        Stop = KeReadStateEvent(&PuffinStop) != 0;
        PuffinTakeEntries();
    } while (!Stop);
}

// FALSE: there is no memory for the entry.
_Must_inspect_result_
static BOOLEAN
PuffinPushEntry(_In_ ULONG Number)
{
    PPUFFIN_ENTRY Entry;

    Entry = (PPUFFIN_ENTRY)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Entry), PUFFIN_POOL_TAG);
    if (Entry == NULL) {
        return FALSE;
    }

    Entry->Number = Number;
    PuffinTrace();
    InterlockedPushEntrySList(&PuffinEntries, &Entry->Link);

    // Defect: the entry is the thread's by now, and may be freed.
    Entry->Pushed = KeQueryInterruptTime();
    PuffinTrace();
    KeReleaseSemaphore(&PuffinWork, IO_NO_INCREMENT, 1, FALSE);
    return TRUE;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PuffinAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPUFFIN_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PPUFFIN_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PUFFIN_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    if (!PuffinPushEntry(ClientRegistrationInstance->Number)) {
        ExFreePoolWithTag(Client, PUFFIN_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PuffinDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PuffinDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PuffinCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PUFFIN_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PuffinStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PuffinThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PuffinThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PuffinStopThread(VOID)
{
    KeSetEvent(&PuffinStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&PuffinWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(PuffinThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PuffinThreadObject);
    NT_ASSERT(ExQueryDepthSList(&PuffinEntries) == 0);
}

_Use_decl_annotations_
static VOID
PuffinUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PuffinProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PuffinProviderHandle);
    }

    PuffinStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PuffinUnload;
    KeInitializeEvent(&PuffinStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&PuffinWork, 0, MAXLONG);
    InitializeSListHead(&PuffinEntries);

    Status = PuffinStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PuffinCharacteristics, NULL, &PuffinProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PuffinStopThread();
    }

    return Status;
}
