// nmrfuzz: module
// summary: Provider that links and visits its clients under one lock and unlinks them under another.
// provides: 1
// consumes: 0
// expect: use-after-free, bug-check, data-race
// rule: none
// needs: a client is detached while the thread walks the list
// interleaving: yes
// hardness: 68 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GODWIT_POOL_TAG 'wdoG'

typedef struct _GODWIT_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GODWIT_PROVIDER_DISPATCH;

typedef struct _GODWIT_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Visits;
} GODWIT_CLIENT, *PGODWIT_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GodwitUnload;
static KSTART_ROUTINE GodwitThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN GodwitAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GodwitDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GodwitCleanupBindingContext;

static const NPIID GodwitNpiId = { 0x7b682926, 0xef52, 0x5116, { 0xa9, 0x73, 0x47, 0xce, 0xa1, 0xaa, 0xe1, 0xa8 } };
static const NPI_MODULEID GodwitModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x97e15b5c, 0x3d95, 0x57d5, { 0x8e, 0x1a, 0x58, 0x7a, 0x62, 0xaf, 0x9a, 0xc0 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GodwitCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GodwitAttachClient,
    GodwitDetachClient,
    GodwitCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GodwitNpiId, &GodwitModuleId, 0, NULL }
};

static HANDLE GodwitProviderHandle;
static PKTHREAD GodwitThreadObject;
static KEVENT GodwitStop;
static KSEMAPHORE GodwitWork; // One count for each walk that is due.
static KSPIN_LOCK GodwitWalkLock;   // held to insert and to walk
static KSPIN_LOCK GodwitDetachLock; // held to remove
static LIST_ENTRY GodwitClients;
static LONG GodwitTraced;

static ULONG NTAPI
GodwitVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GODWIT_PROVIDER_DISPATCH GodwitDispatch = { GodwitVersion };

// The number of the next line in the log.
static VOID
GodwitTrace(VOID)
{
    InterlockedIncrement(&GodwitTraced);
}

// Counts a visit of every client.
static VOID
GodwitVisitAll(VOID)
{
    PLIST_ENTRY Entry;
    KIRQL OldIrql;

    GodwitTrace();
    KeAcquireSpinLock(&GodwitWalkLock, &OldIrql);
    for (Entry = GodwitClients.Flink; Entry != &GodwitClients; Entry = Entry->Flink) {
        CONTAINING_RECORD(Entry, GODWIT_CLIENT, Link)->Visits++;
    }
    KeReleaseSpinLock(&GodwitWalkLock, OldIrql);
    GodwitTrace();
}

_Use_decl_annotations_
static VOID
GodwitThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&GodwitWork, Executive, KernelMode, FALSE, NULL);
        if (KeReadStateEvent(&GodwitStop) != 0) {
            break;
        }
        GodwitVisitAll();
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GodwitAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGODWIT_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PGODWIT_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GODWIT_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    GodwitTrace();
    KeAcquireSpinLock(&GodwitWalkLock, &OldIrql);
    InsertTailList(&GodwitClients, &Client->Link);
    KeReleaseSpinLock(&GodwitWalkLock, OldIrql);
    KeReleaseSemaphore(&GodwitWork, IO_NO_INCREMENT, 1, FALSE);
    GodwitTrace();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GodwitDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GodwitDetachClient(PVOID ProviderBindingContext)
{
    PGODWIT_CLIENT Client = (PGODWIT_CLIENT)ProviderBindingContext;
    KIRQL OldIrql;

    GodwitTrace();
    // Defect: this lock keeps out other detach callbacks, but not the thread.
    KeAcquireSpinLock(&GodwitDetachLock, &OldIrql);
    RemoveEntryList(&Client->Link);
    KeReleaseSpinLock(&GodwitDetachLock, OldIrql);
    GodwitTrace();
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GodwitCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, GODWIT_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
GodwitStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GodwitThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GodwitThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
GodwitStopThread(VOID)
{
    KeSetEvent(&GodwitStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&GodwitWork, IO_NO_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(GodwitThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(GodwitThreadObject);
}

_Use_decl_annotations_
static VOID
GodwitUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(GodwitProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GodwitProviderHandle);
    }

    GodwitStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GodwitUnload;
    InitializeListHead(&GodwitClients);
    KeInitializeSpinLock(&GodwitWalkLock);
    KeInitializeSpinLock(&GodwitDetachLock);
    KeInitializeEvent(&GodwitStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&GodwitWork, 0, MAXLONG);

    Status = GodwitStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GodwitCharacteristics, NULL, &GodwitProviderHandle);
    if (!NT_SUCCESS(Status)) {
        GodwitStopThread();
    }

    return Status;
}
