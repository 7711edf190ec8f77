// nmrfuzz: module
// summary: Client whose attach callbacks make a table once under a fast mutex; the first look acquires, the last store releases.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

#include <ntddk.h>
#include <netioddk.h>

#define PINTAIL_POOL_TAG 'tniP'
#define PINTAIL_ENTRIES 16

typedef struct _PINTAIL_TABLE {
    ULONG Count;
    ULONG Weights[PINTAIL_ENTRIES];
} PINTAIL_TABLE, *PPINTAIL_TABLE;

typedef struct _PINTAIL_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Weight;
} PINTAIL_BINDING, *PPINTAIL_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PintailUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN PintailAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN PintailDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN PintailCleanupBindingContext;

static const NPIID PintailNpiId = { 0x425b3651, 0x090a, 0x5a82, { 0x9d, 0xed, 0xbb, 0x39, 0x47, 0x1c, 0x26, 0xf7 } };
static const NPI_MODULEID PintailModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfa984307, 0x005d, 0x5b85, { 0x88, 0x47, 0x24, 0x19, 0xd3, 0xd9, 0x4a, 0xe4 } } }
};

static const NPI_CLIENT_CHARACTERISTICS PintailCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    PintailAttachProvider,
    PintailDetachProvider,
    PintailCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PintailNpiId, &PintailModuleId, 0, NULL }
};

static HANDLE PintailClientHandle;
static FAST_MUTEX PintailMutex; // held while the table is made
static PPINTAIL_TABLE PintailTable;  // NULL until the first provider is offered

static PPINTAIL_TABLE
PintailMakeTable(VOID)
{
    PPINTAIL_TABLE Table;
    ULONG Index;

    Table = (PPINTAIL_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), PINTAIL_POOL_TAG);
    if (Table != NULL) {
        for (Index = 0; Index < PINTAIL_ENTRIES; Index++) {
            Table->Weights[Index] = PINTAIL_ENTRIES - Index;
        }
        Table->Count = PINTAIL_ENTRIES;
    }
    return Table;
}

// The table, made if it has to be; NULL if there is no memory for it.
_Must_inspect_result_
static PPINTAIL_TABLE
PintailGetTable(VOID)
{
    PPINTAIL_TABLE Table;

    Table = (PPINTAIL_TABLE)ReadPointerAcquire((PVOID volatile *)&PintailTable);
    if (Table == NULL) {
        ExAcquireFastMutex(&PintailMutex);
        Table = PintailTable; // Written under the mutex only.
        if (Table == NULL) {
            Table = PintailMakeTable();
            WritePointerRelease((PVOID volatile *)&PintailTable, Table);
        }
        ExReleaseFastMutex(&PintailMutex);
    }
    return Table;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PintailAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PPINTAIL_BINDING Binding;
    PPINTAIL_TABLE Table;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Table = PintailGetTable();
    if (Table == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding = (PPINTAIL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), PINTAIL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Weight = Table->Weights[ProviderRegistrationInstance->Number % Table->Count];

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, PINTAIL_POOL_TAG);
        return Status;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PintailDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PintailCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, PINTAIL_POOL_TAG);
}

static VOID
PintailFreeTable(VOID)
{
    if (PintailTable != NULL) {
        ExFreePoolWithTag(PintailTable, PINTAIL_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
PintailUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(PintailClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(PintailClientHandle);
    }

    PintailFreeTable();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PintailUnload;
    ExInitializeFastMutex(&PintailMutex);

    // The table is made by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&PintailCharacteristics, NULL, &PintailClientHandle);
}
