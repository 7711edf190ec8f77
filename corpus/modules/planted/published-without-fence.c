// nmrfuzz: module
// summary: Provider whose thread publishes a table by WritePointerNoFence, which orders nothing.
// provides: 1
// consumes: 0
// expect: data-race
// rule: none
// needs: a client is attached as soon as the thread has stored the pointer
// interleaving: yes
// hardness: 7 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define EIDER_POOL_TAG 'ediE'
#define EIDER_ROUTES 8

typedef struct _EIDER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} EIDER_PROVIDER_DISPATCH;

typedef struct _EIDER_TABLE {
    ULONG Count;
    ULONG Routes[EIDER_ROUTES];
} EIDER_TABLE, *PEIDER_TABLE;

typedef struct _EIDER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Route; // 0: none, the table was not there yet
} EIDER_CLIENT, *PEIDER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EiderUnload;
static KSTART_ROUTINE EiderThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN EiderAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN EiderDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN EiderCleanupBindingContext;

static const NPIID EiderNpiId = { 0xe893da7b, 0x27f8, 0x5bb2, { 0x8b, 0xe9, 0x23, 0xe0, 0xeb, 0x7a, 0xc2, 0x3c } };
static const NPI_MODULEID EiderModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4ce441d2, 0x60fd, 0x5192, { 0xbd, 0x86, 0x87, 0x75, 0x92, 0x0b, 0x43, 0xc7 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS EiderCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    EiderAttachClient,
    EiderDetachClient,
    EiderCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &EiderNpiId, &EiderModuleId, 0, NULL }
};

static HANDLE EiderProviderHandle;
static PKTHREAD EiderThreadObject;
static PEIDER_TABLE EiderTable; // NULL until it is complete
static LONG EiderTraced;

static ULONG NTAPI
EiderVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const EIDER_PROVIDER_DISPATCH EiderDispatch = { EiderVersion };

// The number of the next line in the log.
static VOID
EiderTrace(VOID)
{
    InterlockedIncrement(&EiderTraced);
}

static VOID
EiderBuildTable(VOID)
{
    PEIDER_TABLE Table;
    ULONG Index;

    Table = (PEIDER_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), EIDER_POOL_TAG);
    if (Table == NULL) {
        return;
    }

    for (Index = 0; Index < EIDER_ROUTES; Index++) {
        Table->Routes[Index] = Index * Index + 1;
    }
    Table->Count = EIDER_ROUTES;

    // Defect: without a fence the pointer may be seen before what it points to.
    WritePointerNoFence((PVOID volatile *)&EiderTable, Table);
}

_Use_decl_annotations_
static VOID
EiderThread(PVOID StartContext)
{
    UNREFERENCED_PARAMETER(StartContext);

    EiderTrace();
    EiderBuildTable();
    EiderTrace();
}

static ULONG
EiderRouteOf(_In_ ULONG Number)
{
    PEIDER_TABLE Table;

    Table = (PEIDER_TABLE)ReadPointerNoFence((PVOID volatile *)&EiderTable);
    return Table == NULL ? 0 : Table->Routes[Number % Table->Count];
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EiderAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PEIDER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    Client = (PEIDER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), EIDER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    EiderTrace();
    Client->Route = EiderRouteOf(ClientRegistrationInstance->Number);
    EiderTrace();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &EiderDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
EiderDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
EiderCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, EIDER_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
EiderStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, EiderThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&EiderThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

// Waits for the thread and frees what it has built.
static VOID
EiderFinish(VOID)
{
    KeWaitForSingleObject(EiderThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(EiderThreadObject);

    if (EiderTable != NULL) {
        ExFreePoolWithTag(EiderTable, EIDER_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
EiderUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(EiderProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(EiderProviderHandle);
    }

    EiderFinish();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = EiderUnload;

    Status = EiderStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&EiderCharacteristics, NULL, &EiderProviderHandle);
    if (!NT_SUCCESS(Status)) {
        EiderFinish();
    }

    return Status;
}
