// nmrfuzz: module
// summary: Provider that waits after any deregistration that did not fail; its contexts come from a lookaside list.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// Waiting for a deregistration that is complete returns at once, so nothing is gained by asking whether it is pending.

#include <ntddk.h>
#include <netioddk.h>

#define BEADLE_POOL_TAG 'daeB'

typedef struct _BEADLE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Admissions;
} BEADLE_CLIENT, *PBEADLE_CLIENT;

typedef struct _BEADLE_PROVIDER_DISPATCH {
    LONG(NTAPI *Admit)(_In_ PVOID ProviderBindingContext);
} BEADLE_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BeadleUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN BeadleAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN BeadleDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN BeadleCleanupBindingContext;

static const NPIID BeadleNpiId = { 0x811812f9, 0xf9c6, 0x5caa, { 0xb3, 0x1c, 0xc9, 0x70, 0xbf, 0xf1, 0x14, 0xc2 } };
static const NPI_MODULEID BeadleModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x25f0c4b1, 0x3019, 0x56ca, { 0xae, 0xa7, 0x22, 0xfc, 0xcb, 0xcf, 0xf0, 0xf0 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BeadleCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BeadleAttachClient,
    BeadleDetachClient,
    BeadleCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BeadleNpiId, &BeadleModuleId, 0, NULL }
};

static HANDLE BeadleProviderHandle;
static NPAGED_LOOKASIDE_LIST BeadleClients;

static LONG NTAPI
BeadleAdmit(_In_ PVOID ProviderBindingContext)
{
    PBEADLE_CLIENT Client = (PBEADLE_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Admissions);
}

static const BEADLE_PROVIDER_DISPATCH BeadleDispatch = { BeadleAdmit };

_Use_decl_annotations_
static NTSTATUS NTAPI
BeadleAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBEADLE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PBEADLE_CLIENT)ExAllocateFromNPagedLookasideList(&BeadleClients);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // What comes from the list may have been a client before.
    RtlZeroMemory(Client, sizeof(*Client));
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &BeadleDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BeadleDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BeadleCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreeToNPagedLookasideList(&BeadleClients, ProviderBindingContext);
}

_Use_decl_annotations_
static VOID
BeadleUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(BeadleProviderHandle);
    if (NT_SUCCESS(Status)) {
        NmrWaitForProviderDeregisterComplete(BeadleProviderHandle);
    }

    ExDeleteNPagedLookasideList(&BeadleClients);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BeadleUnload;

    ExInitializeNPagedLookasideList(&BeadleClients, NULL, NULL, 0, sizeof(BEADLE_CLIENT), BEADLE_POOL_TAG, 0);

    Status = NmrRegisterProvider(&BeadleCharacteristics, NULL, &BeadleProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ExDeleteNPagedLookasideList(&BeadleClients);
    }

    return Status;
}
