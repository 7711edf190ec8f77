// nmrfuzz: module
// summary: Client whose attach callbacks make a table under a mutex, but look for it without any barrier at first.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: a second provider is offered while the table is made for the first
// interleaving: yes
// hardness: 67 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TEAL_POOL_TAG 'laeT'
#define TEAL_ENTRIES 16

typedef struct _TEAL_TABLE {
    ULONG Count;
    ULONG Weights[TEAL_ENTRIES];
} TEAL_TABLE, *PTEAL_TABLE;

typedef struct _TEAL_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Weight;
} TEAL_BINDING, *PTEAL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TealUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN TealAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TealDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TealCleanupBindingContext;

static const NPIID TealNpiId = { 0xf3221898, 0xfcd8, 0x5b5e, { 0xb0, 0x52, 0xc9, 0x6f, 0x9f, 0xc4, 0xc9, 0x00 } };
static const NPI_MODULEID TealModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9b194979, 0x1f5f, 0x51a3, { 0xb6, 0x97, 0xc3, 0xc4, 0x27, 0xc4, 0x0c, 0x25 } } }
};

static const NPI_CLIENT_CHARACTERISTICS TealCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TealAttachProvider,
    TealDetachProvider,
    TealCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TealNpiId, &TealModuleId, 0, NULL }
};

static HANDLE TealClientHandle;
static FAST_MUTEX TealMutex; // held while the table is made
static PTEAL_TABLE TealTable;  // NULL until the first provider is offered
static LONG TealTraced;

// The number of the next line in the log.
static VOID
TealTrace(VOID)
{
    InterlockedIncrement(&TealTraced);
}

static PTEAL_TABLE
TealMakeTable(VOID)
{
    PTEAL_TABLE Table;
    ULONG Index;

    Table = (PTEAL_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), TEAL_POOL_TAG);
    if (Table != NULL) {
        for (Index = 0; Index < TEAL_ENTRIES; Index++) {
            Table->Weights[Index] = TEAL_ENTRIES - Index;
        }
        Table->Count = TEAL_ENTRIES;
    }
    return Table;
}

// The table, made if it has to be; NULL if there is no memory for it.
_Must_inspect_result_
static PTEAL_TABLE
TealGetTable(VOID)
{
    // Defect: the pointer that is found here does not bring along what it points to.
    if (TealTable == NULL) {
        ExAcquireFastMutex(&TealMutex);
        if (TealTable == NULL) {
            TealTable = TealMakeTable();
        }
        ExReleaseFastMutex(&TealMutex);
    }
    return TealTable;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TealAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTEAL_BINDING Binding;
    PTEAL_TABLE Table;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    TealTrace();
    Table = TealGetTable();
    if (Table == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding = (PTEAL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TEAL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Weight = Table->Weights[ProviderRegistrationInstance->Number % Table->Count];
    TealTrace();

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, TEAL_POOL_TAG);
        return Status;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TealDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TealCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, TEAL_POOL_TAG);
}

static VOID
TealFreeTable(VOID)
{
    if (TealTable != NULL) {
        ExFreePoolWithTag(TealTable, TEAL_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
TealUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(TealClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(TealClientHandle);
    }

    TealFreeTable();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TealUnload;
    ExInitializeFastMutex(&TealMutex);

    // The table is made by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&TealCharacteristics, NULL, &TealClientHandle);
}
