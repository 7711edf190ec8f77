// nmrfuzz: module
// summary: Provider whose callbacks push entries to a sequenced list that its thread empties; an entry has one owner at a time.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// An entry belongs to whoever has it: a callback until it is pushed, the thread from when it has popped it. The list is
// emptied in one operation, so no entry is looked at that is still in it.

#include <ntddk.h>
#include <netioddk.h>

#define GUILLEMOT_POOL_TAG 'liuG'

typedef struct _GUILLEMOT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GUILLEMOT_PROVIDER_DISPATCH;

typedef struct _GUILLEMOT_ENTRY {
    SLIST_ENTRY Link;
    ULONG Number;
    ULONGLONG Pushed; // interrupt time
} GUILLEMOT_ENTRY, *PGUILLEMOT_ENTRY;

typedef struct _GUILLEMOT_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} GUILLEMOT_CLIENT, *PGUILLEMOT_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GuillemotUnload;
static KSTART_ROUTINE GuillemotThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN GuillemotAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GuillemotDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GuillemotCleanupBindingContext;

static const NPIID GuillemotNpiId = { 0x44aa1f80, 0x8556, 0x5817, { 0xa3, 0x1b, 0x8c, 0x2b, 0xd0, 0x15, 0x1d, 0xeb } };
static const NPI_MODULEID GuillemotModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb99e86b0, 0x5a78, 0x5cf6, { 0x9e, 0xc4, 0x97, 0x11, 0xf8, 0x66, 0x36, 0xef } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GuillemotCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GuillemotAttachClient,
    GuillemotDetachClient,
    GuillemotCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GuillemotNpiId, &GuillemotModuleId, 0, NULL }
};

static HANDLE GuillemotProviderHandle;
static PKTHREAD GuillemotThreadObject;
static KEVENT GuillemotStop;
static KSEMAPHORE GuillemotWork; // One count for each entry.
static SLIST_HEADER GuillemotEntries;

// Of the thread alone.
static ULONG GuillemotLastNumber;
static ULONGLONG GuillemotLastPushed;

static ULONG NTAPI
GuillemotVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GUILLEMOT_PROVIDER_DISPATCH GuillemotDispatch = { GuillemotVersion };

static VOID
GuillemotTakeEntries(VOID)
{
    PSLIST_ENTRY Link;

    Link = InterlockedFlushSList(&GuillemotEntries);
    while (Link != NULL) {
        PGUILLEMOT_ENTRY Entry = CONTAINING_RECORD(Link, GUILLEMOT_ENTRY, Link);

        Link = Link->Next;
        GuillemotLastNumber = Entry->Number;
        GuillemotLastPushed = Entry->Pushed;
        ExFreePoolWithTag(Entry, GUILLEMOT_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
GuillemotThread(PVOID StartContext)
{
    BOOLEAN Stop;

    UNREFERENCED_PARAMETER(StartContext);

    // All entries have been pushed when the event is set, so none is left behind.
    do {
        KeWaitForSingleObject(&GuillemotWork, Executive, KernelMode, FALSE, NULL);
        Stop = KeReadStateEvent(&GuillemotStop) != 0;
        GuillemotTakeEntries();
    } while (!Stop);
}

// FALSE: there is no memory for the entry.
_Must_inspect_result_
static BOOLEAN
GuillemotPushEntry(_In_ ULONG Number)
{
    PGUILLEMOT_ENTRY Entry;

    Entry = (PGUILLEMOT_ENTRY)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Entry), GUILLEMOT_POOL_TAG);
    if (Entry == NULL) {
        return FALSE;
    }

    Entry->Number = Number;
    Entry->Pushed = KeQueryInterruptTime();
    InterlockedPushEntrySList(&GuillemotEntries, &Entry->Link);
    KeReleaseSemaphore(&GuillemotWork, IO_NO_INCREMENT, 1, FALSE);
    return TRUE;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GuillemotAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGUILLEMOT_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PGUILLEMOT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GUILLEMOT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    if (!GuillemotPushEntry(ClientRegistrationInstance->Number)) {
        ExFreePoolWithTag(Client, GUILLEMOT_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GuillemotDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GuillemotDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GuillemotCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, GUILLEMOT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
GuillemotStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GuillemotThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GuillemotThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
GuillemotStopThread(VOID)
{
    KeSetEvent(&GuillemotStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&GuillemotWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(GuillemotThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(GuillemotThreadObject);
    NT_ASSERT(ExQueryDepthSList(&GuillemotEntries) == 0);
}

_Use_decl_annotations_
static VOID
GuillemotUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(GuillemotProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GuillemotProviderHandle);
    }

    GuillemotStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GuillemotUnload;
    KeInitializeEvent(&GuillemotStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&GuillemotWork, 0, MAXLONG);
    InitializeSListHead(&GuillemotEntries);

    Status = GuillemotStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GuillemotCharacteristics, NULL, &GuillemotProviderHandle);
    if (!NT_SUCCESS(Status)) {
        GuillemotStopThread();
    }

    return Status;
}
