// nmrfuzz: module
// summary: Provider that takes the list lock to insert and to walk, but not to remove.
// provides: 1
// consumes: 0
// expect: use-after-free, bug-check, data-race
// rule: none
// needs: a client is detached while the thread walks the list
// interleaving: yes
// hardness: 68 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define CURLEW_POOL_TAG 'lruC'

typedef struct _CURLEW_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} CURLEW_PROVIDER_DISPATCH;

typedef struct _CURLEW_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Visits;
} CURLEW_CLIENT, *PCURLEW_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD CurlewUnload;
static KSTART_ROUTINE CurlewThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN CurlewAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN CurlewDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN CurlewCleanupBindingContext;

static const NPIID CurlewNpiId = { 0xcb813c64, 0x0e13, 0x5288, { 0xb0, 0x9c, 0x43, 0x5c, 0x69, 0x76, 0xd3, 0xf8 } };
static const NPI_MODULEID CurlewModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf4b44a9d, 0xc1aa, 0x59a6, { 0x8c, 0xf4, 0x15, 0x11, 0x36, 0xd0, 0xdf, 0xf8 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS CurlewCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    CurlewAttachClient,
    CurlewDetachClient,
    CurlewCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &CurlewNpiId, &CurlewModuleId, 0, NULL }
};

static HANDLE CurlewProviderHandle;
static PKTHREAD CurlewThreadObject;
static KEVENT CurlewStop;
static KSEMAPHORE CurlewWork; // One count for each walk that is due.
static KSPIN_LOCK CurlewLock;
static LIST_ENTRY CurlewClients;
static LONG CurlewTraced;

static ULONG NTAPI
CurlewVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const CURLEW_PROVIDER_DISPATCH CurlewDispatch = { CurlewVersion };

// The number of the next line in the log.
static VOID
CurlewTrace(VOID)
{
    InterlockedIncrement(&CurlewTraced);
}

// Counts a visit of every client.
static VOID
CurlewVisitAll(VOID)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    CurlewTrace();
    KeAcquireSpinLock(&CurlewLock, &OldIrql);
    for (Entry = CurlewClients.Flink; Entry != &CurlewClients; Entry = Entry->Flink) {
        CONTAINING_RECORD(Entry, CURLEW_CLIENT, Link)->Visits++;
    }
    KeReleaseSpinLock(&CurlewLock, OldIrql);
    CurlewTrace();
}

_Use_decl_annotations_
static VOID
CurlewThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&CurlewWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&CurlewStop) != 0) {
            break;
        }
        CurlewVisitAll();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CurlewAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCURLEW_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PCURLEW_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), CURLEW_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    CurlewTrace();
    KeAcquireSpinLock(&CurlewLock, &OldIrql);
    InsertTailList(&CurlewClients, &Client->Link);
    KeReleaseSpinLock(&CurlewLock, OldIrql);
    KeReleaseSemaphore(&CurlewWork, IO_NO_INCREMENT, 1, FALSE);
    CurlewTrace();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &CurlewDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
CurlewDetachClient(PVOID ProviderBindingContext)
{
    PCURLEW_CLIENT Client = (PCURLEW_CLIENT)ProviderBindingContext;

    CurlewTrace();
    // Defect: the thread may be at this entry, or at one of its neighbours.
    RemoveEntryList(&Client->Link);
    CurlewTrace();
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
CurlewCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, CURLEW_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
CurlewStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, CurlewThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&CurlewThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
CurlewStopThread(VOID)
{
    KeSetEvent(&CurlewStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&CurlewWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(CurlewThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(CurlewThreadObject);
}

_Use_decl_annotations_
static VOID
CurlewUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(CurlewProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(CurlewProviderHandle);
    }

    CurlewStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = CurlewUnload;
    InitializeListHead(&CurlewClients);
    KeInitializeSpinLock(&CurlewLock);
    KeInitializeEvent(&CurlewStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&CurlewWork, 0, MAXLONG);

    Status = CurlewStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&CurlewCharacteristics, NULL, &CurlewProviderHandle);
    if (!NT_SUCCESS(Status)) {
        CurlewStopThread();
    }

    return Status;
}
