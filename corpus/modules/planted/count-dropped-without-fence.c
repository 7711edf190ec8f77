// nmrfuzz: module
// summary: Provider whose accounts count their references without fences, so the last one does not see what the others did.
// provides: 1
// consumes: 0
// expect: data-race
// rule: none
// needs: the audit gives up its reference without any other order to the cleanup
// interleaving: yes
// hardness: 10000 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SMEW_POOL_TAG 'wemS'

typedef struct _SMEW_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} SMEW_PROVIDER_DISPATCH;

typedef struct _SMEW_ACCOUNT {
    LONG References; // of the binding and of the audit
    PIO_WORKITEM AuditWorkItem;
    ULONG Audits; // written by the audit alone
    ULONG64 Balance;
} SMEW_ACCOUNT, *PSMEW_ACCOUNT;

typedef struct _SMEW_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PSMEW_ACCOUNT Account;
} SMEW_CLIENT, *PSMEW_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SmewUnload;
static IO_WORKITEM_ROUTINE SmewAuditWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN SmewAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SmewDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SmewCleanupBindingContext;

static const NPIID SmewNpiId = { 0x10a58054, 0x1ef0, 0x5115, { 0x85, 0x2b, 0xaa, 0xd1, 0xb1, 0x5c, 0x4c, 0x3b } };
static const NPI_MODULEID SmewModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x5c47f31c, 0x9a61, 0x5a95, { 0x8d, 0x5c, 0x21, 0xf6, 0xd7, 0x78, 0xdc, 0xb9 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SmewCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SmewAttachClient,
    SmewDetachClient,
    SmewCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SmewNpiId, &SmewModuleId, 0, NULL }
};

static PDEVICE_OBJECT SmewDevice;
static HANDLE SmewProviderHandle;
static LONG SmewAuditsSettled;
static LONG SmewTraced;

static ULONG NTAPI
SmewVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const SMEW_PROVIDER_DISPATCH SmewDispatch = { SmewVersion };

// The number of the next line in the log.
static VOID
SmewTrace(VOID)
{
    InterlockedIncrement(&SmewTraced);
}

static VOID
SmewReleaseAccount(_In_ PSMEW_ACCOUNT Account)
{
    // Defect: this orders nothing. The last one may free what the other one still writes.
    if (InterlockedDecrementNoFence(&Account->References) != 0) {
        return;
    }

    InterlockedExchangeAdd(&SmewAuditsSettled, (LONG)Account->Audits);
    IoFreeWorkItem(Account->AuditWorkItem);
    ExFreePoolWithTag(Account, SMEW_POOL_TAG);
}

_Use_decl_annotations_
static VOID
SmewAuditWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PSMEW_ACCOUNT Account = (PSMEW_ACCOUNT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    SmewTrace();
    Account->Balance = KeQueryInterruptTime();
    Account->Audits++;
    SmewReleaseAccount(Account);
    SmewTrace();
}

// An account with two references, NULL if there is no memory.
_Must_inspect_result_
static PSMEW_ACCOUNT
SmewOpenAccount(VOID)
{
    PSMEW_ACCOUNT Account;

    Account = (PSMEW_ACCOUNT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Account), SMEW_POOL_TAG);
    if (Account == NULL) {
        return NULL;
    }

    Account->AuditWorkItem = IoAllocateWorkItem(SmewDevice);
    if (Account->AuditWorkItem == NULL) {
        ExFreePoolWithTag(Account, SMEW_POOL_TAG);
        return NULL;
    }

    Account->References = 2;
    return Account;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SmewAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSMEW_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSMEW_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SMEW_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Account = SmewOpenAccount();
    if (Client->Account == NULL) {
        ExFreePoolWithTag(Client, SMEW_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SmewDispatch;

    IoQueueWorkItem(Client->Account->AuditWorkItem, SmewAuditWorker, DelayedWorkQueue, Client->Account);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SmewDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SmewCleanupBindingContext(PVOID ProviderBindingContext)
{
    PSMEW_CLIENT Client = (PSMEW_CLIENT)ProviderBindingContext;

    SmewTrace();
    SmewReleaseAccount(Client->Account);
    ExFreePoolWithTag(Client, SMEW_POOL_TAG);
    SmewTrace();
}

_Use_decl_annotations_
static VOID
SmewUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(SmewProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SmewProviderHandle);
    }

    // Audits may be under way still: their work items hold the device object, and with it the image.
    IoDeleteDevice(SmewDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SmewUnload;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &SmewDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&SmewCharacteristics, NULL, &SmewProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(SmewDevice);
    }

    return Status;
}
