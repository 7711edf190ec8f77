// nmrfuzz: module
// summary: Provider whose thread publishes a table by a memory barrier and a volatile flag; readers have the barrier behind it.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// The barriers on both sides are what makes the flag mean something: the plain data go before the writer's, and after
// the reader's. Unload frees the table when the thread has ended and all bindings are gone.

#include <ntddk.h>
#include <netioddk.h>

#define SHEARWATER_POOL_TAG 'aehS'
#define SHEARWATER_ROUTES 8

typedef struct _SHEARWATER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SHEARWATER_PROVIDER_DISPATCH;

typedef struct _SHEARWATER_TABLE {
    ULONG Count;
    ULONG Routes[SHEARWATER_ROUTES];
} SHEARWATER_TABLE, *PSHEARWATER_TABLE;

typedef struct _SHEARWATER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Route; // 0: none, the table was not there yet
} SHEARWATER_CLIENT, *PSHEARWATER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ShearwaterUnload;
static KSTART_ROUTINE ShearwaterThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN ShearwaterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ShearwaterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ShearwaterCleanupBindingContext;

static const NPIID ShearwaterNpiId = { 0x8e50c0ab, 0x95d8, 0x5bf6, { 0xb0, 0x70, 0x6a, 0xb8, 0xf2, 0xba, 0xc4, 0x3a } };
static const NPI_MODULEID ShearwaterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3b06722a, 0xc702, 0x5cd1, { 0xa6, 0xa6, 0x4d, 0x6f, 0xd9, 0xa8, 0xd4, 0x13 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ShearwaterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ShearwaterAttachClient,
    ShearwaterDetachClient,
    ShearwaterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ShearwaterNpiId, &ShearwaterModuleId, 0, NULL }
};

static HANDLE ShearwaterProviderHandle;
static PKTHREAD ShearwaterThreadObject;
static PSHEARWATER_TABLE ShearwaterTable;
static volatile BOOLEAN ShearwaterReady;

static ULONG NTAPI
ShearwaterVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SHEARWATER_PROVIDER_DISPATCH ShearwaterDispatch = { ShearwaterVersion };

static VOID
ShearwaterBuildTable(VOID)
{
    PSHEARWATER_TABLE Table;
    ULONG Index;

    Table = (PSHEARWATER_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), SHEARWATER_POOL_TAG);
    if (Table == NULL) {
        return;
    }

    for (Index = 0; Index < SHEARWATER_ROUTES; Index++) {
        Table->Routes[Index] = Index * Index + 1;
    }
    Table->Count = SHEARWATER_ROUTES;

    ShearwaterTable = Table;
    KeMemoryBarrier();
    ShearwaterReady = TRUE;
}

_Use_decl_annotations_
static VOID
ShearwaterThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    ShearwaterBuildTable();
}

static ULONG
ShearwaterRouteOf(_In_ ULONG Number)
{
    if (!ShearwaterReady) {
        return 0;
    }

    KeMemoryBarrier();
    return ShearwaterTable->Routes[Number % ShearwaterTable->Count];
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ShearwaterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSHEARWATER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PSHEARWATER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SHEARWATER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    Client->Route = ShearwaterRouteOf(ClientRegistrationInstance->Number);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ShearwaterDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ShearwaterDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ShearwaterCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, SHEARWATER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
ShearwaterStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, ShearwaterThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&ShearwaterThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Waits for the thread and frees what it has built.
static VOID
ShearwaterFinish(VOID)
{
    KeWaitForSingleObject(ShearwaterThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(ShearwaterThreadObject);

    if (ShearwaterTable != NULL) {
        ExFreePoolWithTag(ShearwaterTable, SHEARWATER_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
ShearwaterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(ShearwaterProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ShearwaterProviderHandle);
    }

    ShearwaterFinish();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ShearwaterUnload;

    Status = ShearwaterStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&ShearwaterCharacteristics, NULL, &ShearwaterProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ShearwaterFinish();
    }

    return Status;
}
