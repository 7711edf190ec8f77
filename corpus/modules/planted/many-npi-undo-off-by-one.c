// nmrfuzz: module
// summary: Provider of eight NPIs whose DriverEntry, when it fails halfway, leaves the last one that it registered.
// provides: 8
// consumes: 0
// expect: unload-registered
// rule: R24
// needs: a registration other than the first fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LADDER_NPIS 8
#define LADDER_POOL_TAG 'ddaL'

typedef struct _LADDER_SLOT {
    NPIID NpiId;
    NPI_MODULEID ModuleId;
    NPI_PROVIDER_CHARACTERISTICS Characteristics;
    HANDLE Handle;
} LADDER_SLOT, *PLADDER_SLOT;

typedef struct _LADDER_CLIENT {
    PLADDER_SLOT Slot;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} LADDER_CLIENT, *PLADDER_CLIENT;

typedef struct _LADDER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} LADDER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LadderUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN LadderAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LadderDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN LadderCleanupBindingContext;

static const NPIID LadderNpiId = { 0xe0a53d00, 0x0b70, 0x5b41, { 0x86, 0x72, 0x7a, 0x0b, 0xcc, 0xb1, 0x61, 0x73 } };
static const GUID LadderModuleId = { 0x051ede00, 0x87a8, 0x556a, { 0xbc, 0xdd, 0xf9, 0xc4, 0xd7, 0x7d, 0xc5, 0x4c } };

static LADDER_SLOT LadderSlots[LADDER_NPIS];

static ULONG NTAPI
LadderVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const LADDER_PROVIDER_DISPATCH LadderDispatch = { LadderVersion };

_Use_decl_annotations_
static NTSTATUS NTAPI
LadderAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLADDER_CLIENT Client;

    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PLADDER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), LADDER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Slot = (PLADDER_SLOT)ProviderContext;
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &LadderDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LadderDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
LadderCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, LADDER_POOL_TAG);
}

static VOID
LadderInitializeSlot(_In_ ULONG Index)
{
    PLADDER_SLOT Slot = &LadderSlots[Index];
    NPI_REGISTRATION_INSTANCE *Instance = &Slot->Characteristics.ProviderRegistrationInstance;

    Slot->NpiId = LadderNpiId;
    Slot->NpiId.Data1 += Index;
    Slot->ModuleId.Length = sizeof(NPI_MODULEID);
    Slot->ModuleId.Type = MIT_GUID;
    Slot->ModuleId.Guid = LadderModuleId;
    Slot->ModuleId.Guid.Data1 += Index;
    Slot->Characteristics.Version = 0;
    Slot->Characteristics.Length = sizeof(Slot->Characteristics);
    Slot->Characteristics.ProviderAttachClient = LadderAttachClient;
    Slot->Characteristics.ProviderDetachClient = LadderDetachClient;
    Slot->Characteristics.ProviderCleanupBindingContext = LadderCleanupBindingContext;
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &Slot->NpiId;
    Instance->ModuleId = &Slot->ModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;
}

// Undoes the registrations from the first to the one with index `Last`.
static VOID
LadderDeregisterUpTo(_In_ ULONG Last)
{
    NTSTATUS Status[LADDER_NPIS];
    ULONG Index;

    for (Index = 0; Index <= Last; Index++) {
        Status[Index] = NmrDeregisterProvider(LadderSlots[Index].Handle);
    }
    for (Index = 0; Index <= Last; Index++) {
        if (Status[Index] == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(LadderSlots[Index].Handle);
        }
    }
}

_Use_decl_annotations_
static VOID
LadderUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    LadderDeregisterUpTo(LADDER_NPIS - 1);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Index;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LadderUnload;

    for (Index = 0; Index < LADDER_NPIS; Index++) {
        LadderInitializeSlot(Index);
        Status = NmrRegisterProvider(
            &LadderSlots[Index].Characteristics, &LadderSlots[Index], &LadderSlots[Index].Handle);
        if (!NT_SUCCESS(Status)) {
            // Defect: the last one that was registered is Index - 1, and stays.
            if (Index > 1) {
                LadderDeregisterUpTo(Index - 2);
            }
            return Status;
        }
    }
    return STATUS_SUCCESS;
}
