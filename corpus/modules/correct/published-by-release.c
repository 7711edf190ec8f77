// nmrfuzz: module
// summary: Provider whose thread publishes a table by WritePointerRelease; attach callbacks use it after ReadPointerAcquire.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// The table is filled by one thread and never changed afterwards. A reader that has acquired the pointer sees all of
// it; one that came too early does without. Unload frees it when the thread has ended and all bindings are gone.

#include <ntddk.h>
#include <netioddk.h>

#define GOOSANDER_POOL_TAG 'sooG'
#define GOOSANDER_ROUTES 8

typedef struct _GOOSANDER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GOOSANDER_PROVIDER_DISPATCH;

typedef struct _GOOSANDER_TABLE {
    ULONG Count;
    ULONG Routes[GOOSANDER_ROUTES];
} GOOSANDER_TABLE, *PGOOSANDER_TABLE;

typedef struct _GOOSANDER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Route; // 0: none, the table was not there yet
} GOOSANDER_CLIENT, *PGOOSANDER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GoosanderUnload;
static KSTART_ROUTINE GoosanderThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN GoosanderAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GoosanderDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GoosanderCleanupBindingContext;

static const NPIID GoosanderNpiId = { 0x79a3da24, 0x87e3, 0x542a, { 0xa6, 0x4d, 0x5e, 0xc0, 0xa5, 0x09, 0x91, 0x2e } };
static const NPI_MODULEID GoosanderModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x6f2c1653, 0xe60b, 0x5cfb, { 0xac, 0xd3, 0xc5, 0x02, 0x47, 0x0f, 0xcf, 0xfa } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GoosanderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GoosanderAttachClient,
    GoosanderDetachClient,
    GoosanderCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GoosanderNpiId, &GoosanderModuleId, 0, NULL }
};

static HANDLE GoosanderProviderHandle;
static PKTHREAD GoosanderThreadObject;
static PGOOSANDER_TABLE GoosanderTable; // NULL until it is complete

static ULONG NTAPI
GoosanderVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GOOSANDER_PROVIDER_DISPATCH GoosanderDispatch = { GoosanderVersion };

static VOID
GoosanderBuildTable(VOID)
{
    PGOOSANDER_TABLE Table;
    ULONG Index;

    Table = (PGOOSANDER_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), GOOSANDER_POOL_TAG);
    if (Table == NULL) {
        return;
    }

    for (Index = 0; Index < GOOSANDER_ROUTES; Index++) {
        Table->Routes[Index] = Index * Index + 1;
    }
    Table->Count = GOOSANDER_ROUTES;

    WritePointerRelease((PVOID volatile *)&GoosanderTable, Table);
}

_Use_decl_annotations_
static VOID
GoosanderThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    GoosanderBuildTable();
}

static ULONG
GoosanderRouteOf(_In_ ULONG Number)
{
    PGOOSANDER_TABLE Table;

    Table = (PGOOSANDER_TABLE)ReadPointerAcquire((PVOID volatile *)&GoosanderTable);
    return Table == NULL ? 0 : Table->Routes[Number % Table->Count];
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GoosanderAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGOOSANDER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PGOOSANDER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GOOSANDER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    Client->Route = GoosanderRouteOf(ClientRegistrationInstance->Number);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GoosanderDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GoosanderDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GoosanderCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, GOOSANDER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
GoosanderStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, GoosanderThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&GoosanderThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Waits for the thread and frees what it has built.
static VOID
GoosanderFinish(VOID)
{
    KeWaitForSingleObject(GoosanderThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(GoosanderThreadObject);

    if (GoosanderTable != NULL) {
        ExFreePoolWithTag(GoosanderTable, GOOSANDER_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
GoosanderUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(GoosanderProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GoosanderProviderHandle);
    }

    GoosanderFinish();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GoosanderUnload;

    Status = GoosanderStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GoosanderCharacteristics, NULL, &GoosanderProviderHandle);
    if (!NT_SUCCESS(Status)) {
        GoosanderFinish();
    }

    return Status;
}
