// nmrfuzz: module
// summary: Provider whose thread builds a table and publishes it with a plain store that attach callbacks read.
// provides: 1
// consumes: 0
// expect: data-race
// rule: none
// needs: a client is attached while the thread publishes the table
// interleaving: yes
// hardness: 4 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GADWALL_POOL_TAG 'wdaG'
#define GADWALL_ROUTES 8

typedef struct _GADWALL_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GADWALL_PROVIDER_DISPATCH;

typedef struct _GADWALL_TABLE {
    ULONG Count;
    ULONG Routes[GADWALL_ROUTES];
} GADWALL_TABLE, *PGADWALL_TABLE;

typedef struct _GADWALL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Route; // 0: none, the table was not there yet
} GADWALL_CLIENT, *PGADWALL_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GadwallUnload;
static KSTART_ROUTINE GadwallThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN GadwallAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GadwallDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GadwallCleanupBindingContext;

static const NPIID GadwallNpiId = { 0x06f22604, 0x1c5f, 0x5f61, { 0xbb, 0x69, 0x80, 0xa8, 0x15, 0xf7, 0x2d, 0x7f } };
static const NPI_MODULEID GadwallModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x8dbd3cc8, 0xd901, 0x5e58, { 0x94, 0x3f, 0xdc, 0xc6, 0x50, 0xcf, 0x85, 0x65 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GadwallCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GadwallAttachClient,
    GadwallDetachClient,
    GadwallCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GadwallNpiId, &GadwallModuleId, 0, NULL }
};

static HANDLE GadwallProviderHandle;
static PKTHREAD GadwallThreadObject;
static PGADWALL_TABLE GadwallTable; // NULL until it is complete
static LONG GadwallTraced;

static ULONG NTAPI
GadwallVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GADWALL_PROVIDER_DISPATCH GadwallDispatch = { GadwallVersion };

// The number of the next line in the log.
static VOID
GadwallTrace(VOID)
{
    InterlockedIncrement(&GadwallTraced);
}

static VOID
GadwallBuildTable(VOID)
{
    PGADWALL_TABLE Table;
    ULONG Index;

    Table = (PGADWALL_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), GADWALL_POOL_TAG);
    if (Table == NULL) {
        return;
    }

    for (Index = 0; Index < GADWALL_ROUTES; Index++) {
        Table->Routes[Index] = Index * Index + 1;
    }
    Table->Count = GADWALL_ROUTES;

    // Defect: nothing makes the stores into the table visible before this one.
    GadwallTable = Table;
}

_Use_decl_annotations_
static VOID
GadwallThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    GadwallTrace();
    GadwallBuildTable();
    GadwallTrace();
}

static ULONG
GadwallRouteOf(_In_ ULONG Number)
{
    PGADWALL_TABLE Table;

    Table = GadwallTable;
    return Table == NULL ? 0 : Table->Routes[Number % Table->Count];
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GadwallAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGADWALL_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PGADWALL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GADWALL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    GadwallTrace();
    Client->Route = GadwallRouteOf(ClientRegistrationInstance->Number);
    GadwallTrace();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GadwallDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GadwallDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GadwallCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, GADWALL_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
GadwallStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GadwallThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GadwallThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Waits for the thread and frees what it has built.
static VOID
GadwallFinish(VOID)
{
    KeWaitForSingleObject(GadwallThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(GadwallThreadObject);

    if (GadwallTable != NULL) {
        ExFreePoolWithTag(GadwallTable, GADWALL_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
GadwallUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(GadwallProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GadwallProviderHandle);
    }

    GadwallFinish();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GadwallUnload;

    Status = GadwallStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GadwallCharacteristics, NULL, &GadwallProviderHandle);
    if (!NT_SUCCESS(Status)) {
        GadwallFinish();
    }

    return Status;
}
