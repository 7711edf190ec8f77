// nmrfuzz: module
// summary: Client whose attach callbacks make a table if there is none, whoever else is making one.
// provides: 0
// consumes: 1
// expect: memory-leak, data-race
// rule: none
// needs: two providers are offered at the same moment, and both find no table
// interleaving: yes
// hardness: 67 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define MERGANSER_POOL_TAG 'greM'
#define MERGANSER_ENTRIES 16

typedef struct _MERGANSER_TABLE {
    ULONG Count;
    ULONG Weights[MERGANSER_ENTRIES];
} MERGANSER_TABLE, *PMERGANSER_TABLE;

typedef struct _MERGANSER_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Weight;
} MERGANSER_BINDING, *PMERGANSER_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MerganserUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN MerganserAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MerganserDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MerganserCleanupBindingContext;

static const NPIID MerganserNpiId = { 0x019f5528, 0x506e, 0x55f6, { 0x80, 0x0f, 0xe6, 0xcc, 0xbf, 0xf1, 0x71, 0xb5 } };
static const NPI_MODULEID MerganserModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xd9f59512, 0xcb3e, 0x5d3f, { 0x8e, 0x03, 0x5a, 0xc0, 0x36, 0x2d, 0xfc, 0x58 } } }
};

static const NPI_CLIENT_CHARACTERISTICS MerganserCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MerganserAttachProvider,
    MerganserDetachProvider,
    MerganserCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MerganserNpiId, &MerganserModuleId, 0, NULL }
};

static HANDLE MerganserClientHandle;
static PMERGANSER_TABLE MerganserTable;  // NULL until the first provider is offered
static LONG MerganserTraced;

// The number of the next line in the log.
static VOID
MerganserTrace(VOID)
{
    InterlockedIncrement(&MerganserTraced);
}

static PMERGANSER_TABLE
MerganserMakeTable(VOID)
{
    PMERGANSER_TABLE Table;
    ULONG Index;

    Table = (PMERGANSER_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), MERGANSER_POOL_TAG);
    if (Table != NULL) {
        for (Index = 0; Index < MERGANSER_ENTRIES; Index++) {
            Table->Weights[Index] = MERGANSER_ENTRIES - Index;
        }
        Table->Count = MERGANSER_ENTRIES;
    }
    return Table;
}

// The table, made if it has to be; NULL if there is no memory for it.
_Must_inspect_result_
static PMERGANSER_TABLE
MerganserGetTable(VOID)
{
    // Defect: another attach callback may be here as well.
    if (MerganserTable == NULL) {
        MerganserTable = MerganserMakeTable();
    }
    return MerganserTable;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MerganserAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMERGANSER_BINDING Binding;
    PMERGANSER_TABLE Table;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    MerganserTrace();
    Table = MerganserGetTable();
    if (Table == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding = (PMERGANSER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), MERGANSER_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Weight = Table->Weights[ProviderRegistrationInstance->Number % Table->Count];
    MerganserTrace();

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, MERGANSER_POOL_TAG);
        return Status;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MerganserDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MerganserCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, MERGANSER_POOL_TAG);
}

static VOID
MerganserFreeTable(VOID)
{
    if (MerganserTable != NULL) {
        ExFreePoolWithTag(MerganserTable, MERGANSER_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
MerganserUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(MerganserClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MerganserClientHandle);
    }

    MerganserFreeTable();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MerganserUnload;

    // The table is made by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&MerganserCharacteristics, NULL, &MerganserClientHandle);
}
