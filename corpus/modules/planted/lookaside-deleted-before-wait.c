// nmrfuzz: module
// summary: Provider whose Unload deletes the lookaside list of its contexts before the deregistration is complete.
// provides: 1
// consumes: 0
// expect: lock-misuse, use-after-free
// rule: R103
// needs: a client is cleaned up after the deregistration was begun
// interleaving: no
// hardness: 14 schedules; 4 run to completion

// Waiting for a deregistration that is complete returns at once, so nothing is gained by asking whether it is pending.

#include <ntddk.h>
#include <netioddk.h>

#define VERGER_POOL_TAG 'greV'

typedef struct _VERGER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    LONG Admissions;
} VERGER_CLIENT, *PVERGER_CLIENT;

typedef struct _VERGER_PROVIDER_DISPATCH {
    LONG(NTAPI *Admit)(_In_ PVOID ProviderBindingContext);
} VERGER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD VergerUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN VergerAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN VergerDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN VergerCleanupBindingContext;

static const NPIID VergerNpiId = { 0x1c49f849, 0x7cac, 0x525e, { 0xa4, 0xd2, 0x0e, 0x01, 0xd5, 0x1a, 0xd4, 0x7c } };
static const NPI_MODULEID VergerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf38d501a, 0xe66c, 0x5c87, { 0x85, 0xc4, 0x36, 0xc2, 0x86, 0xd2, 0x2f, 0xc8 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS VergerCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    VergerAttachClient,
    VergerDetachClient,
    VergerCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &VergerNpiId, &VergerModuleId, 0, NULL }
};

static HANDLE VergerProviderHandle;
static NPAGED_LOOKASIDE_LIST VergerClients;

static LONG NTAPI
VergerAdmit(_In_ PVOID ProviderBindingContext)
{
    PVERGER_CLIENT Client = (PVERGER_CLIENT)ProviderBindingContext;

    return InterlockedIncrement(&Client->Admissions);
}

static const VERGER_PROVIDER_DISPATCH VergerDispatch = { VergerAdmit };

_Use_decl_annotations_
static NTSTATUS NTAPI
VergerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PVERGER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PVERGER_CLIENT)ExAllocateFromNPagedLookasideList(&VergerClients);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // What comes from the list may have been a client before.
    RtlZeroMemory(Client, sizeof(*Client));
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &VergerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VergerDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
VergerCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreeToNPagedLookasideList(&VergerClients, ProviderBindingContext);
}

_Use_decl_annotations_
static VOID
VergerUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(VergerProviderHandle);

    // Defect: cleanup callbacks may come until the wait is over, and give contexts back to the list.
    ExDeleteNPagedLookasideList(&VergerClients);

    if (NT_SUCCESS(Status)) {
        NmrWaitForProviderDeregisterComplete(VergerProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = VergerUnload;

    ExInitializeNPagedLookasideList(&VergerClients, NULL, NULL, 0, sizeof(VERGER_CLIENT), VERGER_POOL_TAG, 0);

    Status = NmrRegisterProvider(&VergerCharacteristics, NULL, &VergerProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ExDeleteNPagedLookasideList(&VergerClients);
    }

    return Status;
}
