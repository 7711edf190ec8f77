// nmrfuzz: module
// summary: Provider that registers before it initialises the fast mutex that its attach callback takes.
// provides: 1
// consumes: 0
// expect: lock-misuse
// rule: R17
// needs: a client is registered already, or arrives before NmrRegisterProvider has returned
// interleaving: no
// hardness: 1 schedules; 3 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TICKET_POOL_TAG 'kciT'

// What a client gets through the provider dispatch.
typedef struct _TICKET_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Ticket)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} TICKET_PROVIDER_DISPATCH;

typedef struct _TICKET_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
    ULONG Number; // In order of attachment, from 1.
} TICKET_CLIENT, *PTICKET_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TicketUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TicketAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TicketDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TicketCleanupBindingContext;

static const NPIID TicketNpiId = { 0xe3215a92, 0x914e, 0x5ff3, { 0x9c, 0xc7, 0x94, 0x61, 0x46, 0x09, 0x71, 0x5d } };

static const NPI_MODULEID TicketModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9e43dba0, 0xc99d, 0x5056, { 0xb3, 0xc7, 0x0c, 0x72, 0x84, 0x12, 0xdb, 0xb7 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TicketCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TicketAttachClient,
    TicketDetachClient,
    TicketCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &TicketNpiId,
        &TicketModuleId,
        0,
        NULL
    }
};

static HANDLE TicketProviderHandle;
static FAST_MUTEX TicketNumberMutex;
_Guarded_by_(TicketNumberMutex) static ULONG TicketLastNumber;

_Must_inspect_result_
static NTSTATUS NTAPI
TicketDraw(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PTICKET_CLIENT Client = (PTICKET_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const TICKET_PROVIDER_DISPATCH TicketDispatch = { TicketDraw };

_Use_decl_annotations_
static NTSTATUS NTAPI
TicketAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTICKET_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTICKET_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TICKET_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    ExAcquireFastMutex(&TicketNumberMutex);
    Client->Number = ++TicketLastNumber;
    ExReleaseFastMutex(&TicketNumberMutex);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TicketDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TicketDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside TicketDraw.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TicketCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, TICKET_POOL_TAG);
}

_Use_decl_annotations_
static VOID
TicketUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(TicketProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TicketProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TicketUnload;

    Status = NmrRegisterProvider(&TicketCharacteristics, NULL, &TicketProviderHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // Defect: clients may have been attached during the registration.
    ExInitializeFastMutex(&TicketNumberMutex);
    return STATUS_SUCCESS;
}
