// nmrfuzz: module
// summary: Client whose attach callbacks each make a table if there is none; an interlocked compare-exchange decides whose stays.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Nobody waits: whoever loses the exchange frees its own table and uses the winner's.

#include <ntddk.h>
#include <netioddk.h>

#define MALLARD_POOL_TAG 'llaM'
#define MALLARD_ENTRIES 16

typedef struct _MALLARD_TABLE {
    ULONG Count;
    ULONG Weights[MALLARD_ENTRIES];
} MALLARD_TABLE, *PMALLARD_TABLE;

typedef struct _MALLARD_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Weight;
} MALLARD_BINDING, *PMALLARD_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD MallardUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN MallardAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN MallardDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN MallardCleanupBindingContext;

static const NPIID MallardNpiId = { 0xd9788d71, 0x1ec9, 0x5482, { 0x94, 0x0e, 0xa9, 0xf7, 0x1d, 0x7f, 0x99, 0xb9 } };
static const NPI_MODULEID MallardModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x46ec167f, 0x1e05, 0x5b3d, { 0xa3, 0xcd, 0x94, 0x29, 0xa2, 0x29, 0x90, 0x30 } } }
};

static const NPI_CLIENT_CHARACTERISTICS MallardCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    MallardAttachProvider,
    MallardDetachProvider,
    MallardCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &MallardNpiId, &MallardModuleId, 0, NULL }
};

static HANDLE MallardClientHandle;
static PMALLARD_TABLE MallardTable;  // NULL until the first provider is offered

static PMALLARD_TABLE
MallardMakeTable(VOID)
{
    PMALLARD_TABLE Table;
    ULONG Index;

    Table = (PMALLARD_TABLE)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Table), MALLARD_POOL_TAG);
    if (Table != NULL) {
        for (Index = 0; Index < MALLARD_ENTRIES; Index++) {
            Table->Weights[Index] = MALLARD_ENTRIES - Index;
        }
        Table->Count = MALLARD_ENTRIES;
    }
    return Table;
}

// The table, made if it has to be; NULL if there is no memory for it.
_Must_inspect_result_
static PMALLARD_TABLE
MallardGetTable(VOID)
{
    PMALLARD_TABLE Table;
    PMALLARD_TABLE Mine;

    Table = (PMALLARD_TABLE)ReadPointerAcquire((PVOID volatile *)&MallardTable);
    if (Table != NULL) {
        return Table;
    }

    Mine = MallardMakeTable();
    if (Mine == NULL) {
        return NULL;
    }

    Table = (PMALLARD_TABLE)InterlockedCompareExchangePointer((PVOID volatile *)&MallardTable, Mine, NULL);
    if (Table == NULL) {
        return Mine;
    }

    ExFreePoolWithTag(Mine, MALLARD_POOL_TAG);
    return Table;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MallardAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PMALLARD_BINDING Binding;
    PMALLARD_TABLE Table;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Table = MallardGetTable();
    if (Table == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding = (PMALLARD_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), MALLARD_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Weight = Table->Weights[ProviderRegistrationInstance->Number % Table->Count];

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, MALLARD_POOL_TAG);
        return Status;
    }

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
MallardDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
MallardCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, MALLARD_POOL_TAG);
}

static VOID
MallardFreeTable(VOID)
{
    if (MallardTable != NULL) {
        ExFreePoolWithTag(MallardTable, MALLARD_POOL_TAG);
    }
}

_Use_decl_annotations_
static VOID
MallardUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(MallardClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(MallardClientHandle);
    }

    MallardFreeTable();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = MallardUnload;

    // The table is made by attach callbacks only, and a failed registration has none.
    return NmrRegisterClient(&MallardCharacteristics, NULL, &MallardClientHandle);
}
