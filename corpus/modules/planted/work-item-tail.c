// nmrfuzz: module
// summary: Provider that completes its detaches from ExQueueWorkItem routines, which nothing keeps from outliving the driver.
// provides: 1
// consumes: 0
// expect: unload-running
// rule: R108
// needs: unload goes on between the completion and the return of the work routine
// interleaving: yes
// hardness: 1 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define LEDGER_POOL_TAG 'gdeL'

typedef struct _LEDGER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    WORK_QUEUE_ITEM DetachWorkItem;
    LONG64 Units;
} LEDGER_CLIENT, *PLEDGER_CLIENT;

typedef struct _LEDGER_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} LEDGER_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD LedgerUnload;
static WORKER_THREAD_ROUTINE LedgerDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN LedgerAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN LedgerDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN LedgerCleanupBindingContext;

static const NPIID LedgerNpiId = { 0x3c917bfe, 0xcdae, 0x5a17, { 0x85, 0xc7, 0xa7, 0x00, 0x1e, 0xf5, 0x51, 0x28 } };
static const NPI_MODULEID LedgerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x4617fa01, 0xda91, 0x5008, { 0xbf, 0x6b, 0x17, 0xd0, 0x9b, 0x87, 0x48, 0xff } } }
};

static const NPI_PROVIDER_CHARACTERISTICS LedgerCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    LedgerAttachClient,
    LedgerDetachClient,
    LedgerCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &LedgerNpiId, &LedgerModuleId, 0, NULL }
};

static HANDLE LedgerProviderHandle;
static LONG64 LedgerSettledUnits;
static LONG LedgerClosedAccounts;

static VOID NTAPI
LedgerCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PLEDGER_CLIENT Client = (PLEDGER_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const LEDGER_PROVIDER_DISPATCH LedgerDispatch = { LedgerCharge };

_Use_decl_annotations_
static VOID
LedgerDetachWorker(PVOID Context)
{
    PLEDGER_CLIENT Client = (PLEDGER_CLIENT)Context;
    HANDLE BindingHandle;

    InterlockedExchangeAdd64(&LedgerSettledUnits, InterlockedExchange64(&Client->Units, 0));

    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);

    // Defect: the completion lets Unload return, and this item holds no device object that would keep the image.
    InterlockedIncrement(&LedgerClosedAccounts);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LedgerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PLEDGER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PLEDGER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), LEDGER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

#pragma warning(suppress : 4996) // ExInitializeWorkItem is deprecated.
    ExInitializeWorkItem(&Client->DetachWorkItem, LedgerDetachWorker, Client);
    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &LedgerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
LedgerDetachClient(PVOID ProviderBindingContext)
{
    PLEDGER_CLIENT Client = (PLEDGER_CLIENT)ProviderBindingContext;

#pragma warning(suppress : 4996) // ExQueueWorkItem is deprecated.
    ExQueueWorkItem(&Client->DetachWorkItem, DelayedWorkQueue);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
LedgerCleanupBindingContext(PVOID ProviderBindingContext)
{
    // The work item in it is not queued any more: its routine has begun, and is perhaps what brought us here.
    ExFreePoolWithTag(ProviderBindingContext, LEDGER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
LedgerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(LedgerProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(LedgerProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = LedgerUnload;
    return NmrRegisterProvider(&LedgerCharacteristics, NULL, &LedgerProviderHandle);
}
