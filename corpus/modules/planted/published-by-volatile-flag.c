// nmrfuzz: module
// summary: Provider whose thread builds a table and says by a volatile flag, without a barrier, that it is there.
// provides: 1
// consumes: 0
// expect: data-race
// rule: none
// needs: a client is attached as soon as the thread has set the flag
// interleaving: yes
// hardness: 14 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define POCHARD_POOL_TAG 'hcoP'
#define POCHARD_ROUTES 8

typedef struct _POCHARD_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} POCHARD_PROVIDER_DISPATCH;

typedef struct _POCHARD_TABLE {
    ULONG Count;
    ULONG Routes[POCHARD_ROUTES];
} POCHARD_TABLE, *PPOCHARD_TABLE;

typedef struct _POCHARD_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Route; // 0: none, the table was not there yet
} POCHARD_CLIENT, *PPOCHARD_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PochardUnload;
static KSTART_ROUTINE PochardThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PochardAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PochardDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PochardCleanupBindingContext;

static const NPIID PochardNpiId = { 0x8d81ac93, 0x54ab, 0x5213, { 0x93, 0x9c, 0x18, 0x55, 0x33, 0x74, 0x19, 0xa7 } };
static const NPI_MODULEID PochardModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa370b873, 0x3b16, 0x584f, { 0xb6, 0x03, 0x3b, 0x8e, 0xae, 0x38, 0x1a, 0x14 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PochardCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PochardAttachClient,
    PochardDetachClient,
    PochardCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PochardNpiId, &PochardModuleId, 0, NULL }
};

static HANDLE PochardProviderHandle;
static PKTHREAD PochardThreadObject;
static PPOCHARD_TABLE PochardTable;
static volatile BOOLEAN PochardReady;
static LONG PochardTraced;

static ULONG NTAPI
PochardVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const POCHARD_PROVIDER_DISPATCH PochardDispatch = { PochardVersion };

// The number of the next line in the log.
static VOID
PochardTrace(VOID)
{
    InterlockedIncrement(&PochardTraced);
}

static VOID
PochardBuildTable(VOID)
{
    PPOCHARD_TABLE Table;
    ULONG Index;

    Table = (PPOCHARD_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), POCHARD_POOL_TAG);
    if (Table == NULL) {
        return;
    }

    for (Index = 0; Index < POCHARD_ROUTES; Index++) {
        Table->Routes[Index] = Index * Index + 1;
    }
    Table->Count = POCHARD_ROUTES;

    PochardTable = Table;

    // Defect: volatile keeps the compiler from moving this store, not the processor from moving those before it.
    PochardReady = TRUE;
}

_Use_decl_annotations_
static VOID
PochardThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    PochardTrace();
    PochardBuildTable();
    PochardTrace();
}

static ULONG
PochardRouteOf(_In_ ULONG Number)
{
    return PochardReady ? PochardTable->Routes[Number % PochardTable->Count] : 0;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PochardAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPOCHARD_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PPOCHARD_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), POCHARD_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    PochardTrace();
    Client->Route = PochardRouteOf(ClientRegistrationInstance->Number);
    PochardTrace();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PochardDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PochardDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PochardCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, POCHARD_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PochardStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PochardThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PochardThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Waits for the thread and frees what it has built.
static VOID
PochardFinish(VOID)
{
    KeWaitForSingleObject(PochardThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PochardThreadObject);

    if (PochardTable != NULL) {
        ExFreePoolWithTag(PochardTable, POCHARD_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
PochardUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PochardProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PochardProviderHandle);
    }

    PochardFinish();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PochardUnload;

    Status = PochardStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PochardCharacteristics, NULL, &PochardProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PochardFinish();
    }

    return Status;
}
