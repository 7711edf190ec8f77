// nmrfuzz: module
// summary: Provider whose accounts are freed by whoever finds the count at zero in a look of its own, after the decrement.
// provides: 1
// consumes: 0
// expect: use-after-free, double-free, data-race
// rule: none
// needs: both references are given up before either count is tested
// interleaving: yes
// hardness: 73 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SCOTER_POOL_TAG 'tocS'

typedef struct _SCOTER_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SCOTER_PROVIDER_DISPATCH;

typedef struct _SCOTER_ACCOUNT {
    LONG References; // of the binding and of the audit
    PIO_WORKITEM AuditWorkItem;
    ULONG Audits; // written by the audit alone
    ULONG64 Balance;
} SCOTER_ACCOUNT, *PSCOTER_ACCOUNT;

typedef struct _SCOTER_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PSCOTER_ACCOUNT Account;
} SCOTER_CLIENT, *PSCOTER_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD ScoterUnload;
static IO_WORKITEM_ROUTINE ScoterAuditWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN ScoterAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ScoterDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ScoterCleanupBindingContext;

static const NPIID ScoterNpiId = { 0xdb09dbc2, 0x1c2d, 0x56e4, { 0x9b, 0xa3, 0xd8, 0xfb, 0x67, 0xa6, 0xad, 0x5a } };
static const NPI_MODULEID ScoterModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x31402cd1, 0x04be, 0x502d, { 0x87, 0x74, 0x4c, 0x1e, 0xa7, 0xc1, 0x97, 0x7a } } }
};

static const NPI_PROVIDER_CHARACTERISTICS ScoterCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    ScoterAttachClient,
    ScoterDetachClient,
    ScoterCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &ScoterNpiId, &ScoterModuleId, 0, NULL }
};

static PDEVICE_OBJECT ScoterDevice;
static HANDLE ScoterProviderHandle;
static LONG ScoterAuditsSettled;
static LONG ScoterTraced;

static ULONG NTAPI
ScoterVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SCOTER_PROVIDER_DISPATCH ScoterDispatch = { ScoterVersion };

// The number of the next line in the log.
static VOID
ScoterTrace(VOID)
{
    InterlockedIncrement(&ScoterTraced);
}

static VOID
ScoterReleaseAccount(_In_ PSCOTER_ACCOUNT Account)
{
    InterlockedDecrement(&Account->References);

    // Defect: if the other one has got here too, both see zero; or it has freed the account already.
    if (Account->References != 0) {
        return;
    }

    InterlockedExchangeAdd(&ScoterAuditsSettled, (LONG)Account->Audits);
    IoFreeWorkItem(Account->AuditWorkItem);
    ExFreePoolWithTag(Account, SCOTER_POOL_TAG);
}

_Use_decl_annotations_
static VOID
ScoterAuditWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PSCOTER_ACCOUNT Account = (PSCOTER_ACCOUNT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    ScoterTrace();
    Account->Balance = KeQueryInterruptTime();
    Account->Audits++;
    ScoterReleaseAccount(Account);
    ScoterTrace();
}

// An account with two references, NULL if there is no memory.
_Must_inspect_result_
static PSCOTER_ACCOUNT
ScoterOpenAccount(VOID)
{
    PSCOTER_ACCOUNT Account;

    Account = (PSCOTER_ACCOUNT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Account), SCOTER_POOL_TAG);
    if (Account == NULL) {
        return NULL;
    }

    Account->AuditWorkItem = IoAllocateWorkItem(ScoterDevice);
    if (Account->AuditWorkItem == NULL) {
        ExFreePoolWithTag(Account, SCOTER_POOL_TAG);
        return NULL;
    }

    Account->References = 2;
    return Account;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ScoterAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSCOTER_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSCOTER_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SCOTER_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Account = ScoterOpenAccount();
    if (Client->Account == NULL) {
        ExFreePoolWithTag(Client, SCOTER_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ScoterDispatch;

    IoQueueWorkItem(Client->Account->AuditWorkItem, ScoterAuditWorker, DelayedWorkQueue, Client->Account);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ScoterDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ScoterCleanupBindingContext(PVOID ProviderBindingContext)
{
    PSCOTER_CLIENT Client = (PSCOTER_CLIENT)ProviderBindingContext;

    ScoterTrace();
    ScoterReleaseAccount(Client->Account);
    ExFreePoolWithTag(Client, SCOTER_POOL_TAG);
    ScoterTrace();
}

_Use_decl_annotations_
static VOID
ScoterUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(ScoterProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(ScoterProviderHandle);
    }

    // Audits may be under way still: their work items hold the device object, and with it the image.
    IoDeleteDevice(ScoterDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = ScoterUnload;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &ScoterDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&ScoterCharacteristics, NULL, &ScoterProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(ScoterDevice);
    }

    return Status;
}
