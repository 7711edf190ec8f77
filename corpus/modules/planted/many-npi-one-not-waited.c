// nmrfuzz: module
// summary: Provider of eight NPIs whose Unload begins every deregistration but waits only for NPIs that had a client.
// provides: 8
// consumes: 0
// expect: unload-pending
// rule: R91, R95
// needs: an NPI to which no client attaches
// interleaving: no
// hardness: 5 schedules; 1 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define FENCE_NPIS 8
#define FENCE_POOL_TAG 'cneF'

typedef struct _FENCE_SLOT {
    NPIID NpiId;
    NPI_MODULEID ModuleId;
    NPI_PROVIDER_CHARACTERISTICS Characteristics;
    HANDLE Handle;
    volatile LONG Attached; // Clients ever.
} FENCE_SLOT, *PFENCE_SLOT;

typedef struct _FENCE_CLIENT {
    PFENCE_SLOT Slot;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} FENCE_CLIENT, *PFENCE_CLIENT;

typedef struct _FENCE_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} FENCE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD FenceUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN FenceAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN FenceDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN FenceCleanupBindingContext;

static const NPIID FenceNpiId = { 0x56215300, 0xb040, 0x5dc2, { 0x89, 0x08, 0x96, 0x62, 0x2d, 0xe2, 0xa7, 0x39 } };
static const GUID FenceModuleId = { 0xf4ff1600, 0x6615, 0x5ad7, { 0xb9, 0x00, 0x08, 0x17, 0x6b, 0xe9, 0x1e, 0x8b } };

static FENCE_SLOT FenceSlots[FENCE_NPIS];

static ULONG NTAPI
FenceVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const FENCE_PROVIDER_DISPATCH FenceDispatch = { FenceVersion };

_Use_decl_annotations_
static NTSTATUS NTAPI
FenceAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PFENCE_CLIENT Client;

    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PFENCE_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), FENCE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Slot = (PFENCE_SLOT)ProviderContext;
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedIncrement(&Client->Slot->Attached);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &FenceDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
FenceDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
FenceCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, FENCE_POOL_TAG);
}

static VOID
FenceInitializeSlot(_In_ ULONG Index)
{
    PFENCE_SLOT Slot = &FenceSlots[Index];
    NPI_REGISTRATION_INSTANCE *Instance = &Slot->Characteristics.ProviderRegistrationInstance;

    Slot->NpiId = FenceNpiId;
    Slot->NpiId.Data1 += Index;
    Slot->ModuleId.Length = sizeof(NPI_MODULEID);
    Slot->ModuleId.Type = MIT_GUID;
    Slot->ModuleId.Guid = FenceModuleId;
    Slot->ModuleId.Guid.Data1 += Index;
    Slot->Characteristics.Version = 0;
    Slot->Characteristics.Length = sizeof(Slot->Characteristics);
    Slot->Characteristics.ProviderAttachClient = FenceAttachClient;
    Slot->Characteristics.ProviderDetachClient = FenceDetachClient;
    Slot->Characteristics.ProviderCleanupBindingContext = FenceCleanupBindingContext;
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &Slot->NpiId;
    Instance->ModuleId = &Slot->ModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;
}

// Undoes the first `Count` registrations: all are begun before the first wait.
static VOID
FenceDeregisterFirst(_In_ ULONG Count)
{
    NTSTATUS Status[FENCE_NPIS];
    ULONG Index;

    for (Index = 0; Index < Count; Index++) {
        Status[Index] = NmrDeregisterProvider(FenceSlots[Index].Handle);
    }
    for (Index = 0; Index < Count; Index++) {
        if (Status[Index] == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(FenceSlots[Index].Handle);
        }
    }
}

_Use_decl_annotations_
static VOID
FenceUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status[FENCE_NPIS];
    ULONG Index;

    UNREFERENCED_PARAMETER(DriverObject);

    // NPIs that somebody has used go last.
    for (Index = 0; Index < FENCE_NPIS; Index++) {
        Status[Index] = STATUS_NOT_FOUND;
        if (FenceSlots[Index].Attached == 0) {
            Status[Index] = NmrDeregisterProvider(FenceSlots[Index].Handle);
        }
    }
    for (Index = 0; Index < FENCE_NPIS; Index++) {
        if (Status[Index] == STATUS_NOT_FOUND) {
            Status[Index] = NmrDeregisterProvider(FenceSlots[Index].Handle);
        }
    }

    // Defect: without a client there is as good as nothing to wait for, but the deregistration is not complete.
    for (Index = 0; Index < FENCE_NPIS; Index++) {
        if (Status[Index] == STATUS_PENDING && FenceSlots[Index].Attached != 0) {
            NmrWaitForProviderDeregisterComplete(FenceSlots[Index].Handle);
        }
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Index;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = FenceUnload;

    for (Index = 0; Index < FENCE_NPIS; Index++) {
        FenceInitializeSlot(Index);
        Status = NmrRegisterProvider(
            &FenceSlots[Index].Characteristics, &FenceSlots[Index], &FenceSlots[Index].Handle);
        if (!NT_SUCCESS(Status)) {
            FenceDeregisterFirst(Index);
            return Status;
        }
    }
    return STATUS_SUCCESS;
}
