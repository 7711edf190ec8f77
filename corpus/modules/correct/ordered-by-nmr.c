// nmrfuzz: module
// summary: Client without a lock: what its callbacks share is ordered by the registration and by each binding's own life.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// Registering orders what DriverEntry wrote before all callbacks. A binding's callbacks follow one another, so its
// context needs no lock, whoever runs them. Each binding has a slot of the results to itself, which its cleanup
// callback writes; Unload reads them all behind the wait.

#include <ntddk.h>
#include <netioddk.h>

#define GANNET_POOL_TAG 'nnaG'
#define GANNET_SLOTS 8

typedef struct _GANNET_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG Slot; // GANNET_SLOTS or more: none was left
    ULONG Stage;
    ULONG Peer;
} GANNET_BINDING, *PGANNET_BINDING;

typedef struct _GANNET_RESULT {
    ULONG Stage;
    ULONG Peer;
} GANNET_RESULT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GannetUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN GannetAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN GannetDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN GannetCleanupBindingContext;

static const NPIID GannetNpiId = { 0x2a928424, 0x6cf8, 0x562d, { 0xb1, 0x6f, 0xfb, 0x92, 0xf7, 0xfd, 0x48, 0x29 } };
static const NPI_MODULEID GannetModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfc5fd65e, 0xe7e9, 0x5aaf, { 0xa3, 0x16, 0x5f, 0x1c, 0x34, 0xbf, 0x9d, 0x0e } } }
};

static const NPI_CLIENT_CHARACTERISTICS GannetCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    GannetAttachProvider,
    GannetDetachProvider,
    GannetCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GannetNpiId, &GannetModuleId, 0, NULL }
};

static HANDLE GannetClientHandle;
static ULONG GannetFirstStage;
static LONG GannetNextSlot;
static GANNET_RESULT GannetResults[GANNET_SLOTS];

_Use_decl_annotations_
static NTSTATUS NTAPI
GannetAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PGANNET_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);

    Binding = (PGANNET_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), GANNET_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->Peer = ProviderRegistrationInstance->Number;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, GANNET_POOL_TAG);
        return Status;
    }

    // The provider has accepted, and may be gone before the next line; the detach callback waits for this one.
    Binding->Slot = (ULONG)InterlockedIncrement(&GannetNextSlot) - 1;
    Binding->Stage = GannetFirstStage;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GannetDetachProvider(PVOID ClientBindingContext)
{
    PGANNET_BINDING Binding = (PGANNET_BINDING)ClientBindingContext;

    Binding->Stage++;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GannetCleanupBindingContext(PVOID ClientBindingContext)
{
    PGANNET_BINDING Binding = (PGANNET_BINDING)ClientBindingContext;

    if (Binding->Slot < GANNET_SLOTS) {
        GannetResults[Binding->Slot].Stage = Binding->Stage + 1;
        GannetResults[Binding->Slot].Peer = Binding->Peer;
    }
    ExFreePoolWithTag(Binding, GANNET_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GannetUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG Index;

    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(GannetClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(GannetClientHandle);
    }

    // Slots are given out in order, and all that were have been written.
    for (Index = 0; Index < GANNET_SLOTS && Index < (ULONG)GannetNextSlot; Index++) {
        NT_ASSERT(GannetResults[Index].Stage == GannetFirstStage + 2);
    }
    GannetFirstStage = 0;
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GannetUnload;
    GannetFirstStage = 10;
    return NmrRegisterClient(&GannetCharacteristics, NULL, &GannetClientHandle);
}
