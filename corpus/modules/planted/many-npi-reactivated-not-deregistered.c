// nmrfuzz: module
// summary: Provider of eight NPIs of which some leave and return; one that returns and gets no client is forgotten at unload.
// provides: 8
// consumes: 0
// expect: unload-registered
// rule: R93
// needs: an NPI that left and returned has no client the second time
// interleaving: no
// hardness: 5 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define RELAY_NPIS 8
#define RELAY_POOL_TAG 'aleR'

typedef struct _RELAY_SLOT {
    NPIID NpiId;
    NPI_MODULEID ModuleId;
    NPI_PROVIDER_CHARACTERISTICS Characteristics;
    HANDLE Handle;
    volatile LONG Active; // To be deregistered.
} RELAY_SLOT, *PRELAY_SLOT;

typedef struct _RELAY_CLIENT {
    PRELAY_SLOT Slot;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} RELAY_CLIENT, *PRELAY_CLIENT;

typedef struct _RELAY_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} RELAY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RelayUnload;
static KSTART_ROUTINE RelayReactivateThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN RelayAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN RelayDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN RelayCleanupBindingContext;

static const NPIID RelayNpiId = { 0x974f8d00, 0xed02, 0x5f8f, { 0x92, 0x3d, 0x70, 0xf6, 0xfe, 0x10, 0x99, 0xda } };
static const GUID RelayModuleId = { 0x824f9100, 0x8a63, 0x5bf1, { 0xa9, 0x42, 0x19, 0x4f, 0xff, 0x8a, 0x47, 0x8b } };

static RELAY_SLOT RelaySlots[RELAY_NPIS];
static PKTHREAD RelayThread;
static volatile LONG RelayUnloading;

static ULONG NTAPI
RelayVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const RELAY_PROVIDER_DISPATCH RelayDispatch = { RelayVersion };

_Use_decl_annotations_
static NTSTATUS NTAPI
RelayAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PRELAY_CLIENT Client;

    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PRELAY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), RELAY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Slot = (PRELAY_SLOT)ProviderContext;
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    InterlockedExchange(&Client->Slot->Active, TRUE);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &RelayDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RelayDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RelayCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, RELAY_POOL_TAG);
}

static VOID
RelayInitializeSlot(_In_ ULONG Index)
{
    PRELAY_SLOT Slot = &RelaySlots[Index];
    NPI_REGISTRATION_INSTANCE *Instance = &Slot->Characteristics.ProviderRegistrationInstance;

    Slot->NpiId = RelayNpiId;
    Slot->NpiId.Data1 += Index;
    Slot->ModuleId.Length = sizeof(NPI_MODULEID);
    Slot->ModuleId.Type = MIT_GUID;
    Slot->ModuleId.Guid = RelayModuleId;
    Slot->ModuleId.Guid.Data1 += Index;
    Slot->Characteristics.Version = 0;
    Slot->Characteristics.Length = sizeof(Slot->Characteristics);
    Slot->Characteristics.ProviderAttachClient = RelayAttachClient;
    Slot->Characteristics.ProviderDetachClient = RelayDetachClient;
    Slot->Characteristics.ProviderCleanupBindingContext = RelayCleanupBindingContext;
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &Slot->NpiId;
    Instance->ModuleId = &Slot->ModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;
}

static VOID
RelayDeregister(_In_ PRELAY_SLOT Slot)
{
    if (NmrDeregisterProvider(Slot->Handle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(Slot->Handle);
    }
}

// Every third NPI leaves and returns, with the identifier of its new life.
_Use_decl_annotations_
static VOID
RelayReactivateThread(PVOID StartContext)
{
    PRELAY_SLOT Slot;
    ULONG Index;

    UNREFERENCED_PARAMETER(StartContext);

    for (Index = 0; Index < RELAY_NPIS && !RelayUnloading; Index += 3) {
        Slot = &RelaySlots[Index];
        RelayDeregister(Slot);
        InterlockedExchange(&Slot->Active, FALSE);

        // Defect: only a client's attach says that the NPI is active again. If none comes, Unload takes it for one that
        // could not be registered.
        (VOID)NmrRegisterProvider(&Slot->Characteristics, Slot, &Slot->Handle);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_
static VOID
RelayUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG Index;

    UNREFERENCED_PARAMETER(DriverObject);

    InterlockedExchange(&RelayUnloading, TRUE);
    if (RelayThread != NULL) {
        KeWaitForSingleObject(RelayThread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(RelayThread);
    }

    for (Index = 0; Index < RELAY_NPIS; Index++) {
        if (RelaySlots[Index].Active) {
            RelayDeregister(&RelaySlots[Index]);
        }
    }
}

static VOID
RelayStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    // Without the thread nothing is reactivated.
    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RelayReactivateThread, NULL);
    if (NT_SUCCESS(Status)) {
        Status = ObReferenceObjectByHandle(
            ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RelayThread, NULL);
        NT_ASSERT(NT_SUCCESS(Status));
        ZwClose(ThreadHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Index;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RelayUnload;

    for (Index = 0; Index < RELAY_NPIS; Index++) {
        RelayInitializeSlot(Index);
        Status = NmrRegisterProvider(
            &RelaySlots[Index].Characteristics, &RelaySlots[Index], &RelaySlots[Index].Handle);
        if (!NT_SUCCESS(Status)) {
            while (Index > 0) {
                RelayDeregister(&RelaySlots[--Index]);
            }
            return Status;
        }
        InterlockedExchange(&RelaySlots[Index].Active, TRUE);
    }
    RelayStartThread();
    return STATUS_SUCCESS;
}
