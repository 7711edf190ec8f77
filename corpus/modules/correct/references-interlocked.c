// nmrfuzz: module
// summary: Provider whose accounts are shared by a binding and a work item; whoever gives up the last reference frees.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// The decrement that reaches zero is ordered behind all others, so the last one may read and free what they wrote.

#include <ntddk.h>
#include <netioddk.h>

#define GARGANEY_POOL_TAG 'graG'

typedef struct _GARGANEY_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} GARGANEY_PROVIDER_DISPATCH;

typedef struct _GARGANEY_ACCOUNT {
    LONG References; // of the binding and of the audit
    PIO_WORKITEM AuditWorkItem;
    ULONG Audits; // written by the audit alone
    ULONG64 Balance;
} GARGANEY_ACCOUNT, *PGARGANEY_ACCOUNT;

typedef struct _GARGANEY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PGARGANEY_ACCOUNT Account;
} GARGANEY_CLIENT, *PGARGANEY_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD GarganeyUnload;
static IO_WORKITEM_ROUTINE GarganeyAuditWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN GarganeyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN GarganeyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN GarganeyCleanupBindingContext;

static const NPIID GarganeyNpiId = { 0x64db21a2, 0xdf5c, 0x537e, { 0xb7, 0x0b, 0xc7, 0x2a, 0x82, 0x55, 0xc9, 0xa0 } };
static const NPI_MODULEID GarganeyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x60b5f97f, 0x95ce, 0x5ecc, { 0x93, 0x7e, 0x22, 0x1d, 0x38, 0xaf, 0x65, 0x48 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS GarganeyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    GarganeyAttachClient,
    GarganeyDetachClient,
    GarganeyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &GarganeyNpiId, &GarganeyModuleId, 0, NULL }
};

static PDEVICE_OBJECT GarganeyDevice;
static HANDLE GarganeyProviderHandle;
static LONG GarganeyAuditsSettled;

static ULONG NTAPI
GarganeyVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const GARGANEY_PROVIDER_DISPATCH GarganeyDispatch = { GarganeyVersion };

static VOID
GarganeyReleaseAccount(_In_ PGARGANEY_ACCOUNT Account)
{
    if (InterlockedDecrement(&Account->References) != 0) {
        return;
    }

    InterlockedExchangeAdd(&GarganeyAuditsSettled, (LONG)Account->Audits);
    IoFreeWorkItem(Account->AuditWorkItem);
    ExFreePoolWithTag(Account, GARGANEY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GarganeyAuditWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PGARGANEY_ACCOUNT Account = (PGARGANEY_ACCOUNT)Context;

    UNREFERENCED_PARAMETER(DeviceObject);

    Account->Balance = KeQueryInterruptTime();
    Account->Audits++;
    GarganeyReleaseAccount(Account);
}

// An account with two references, NULL if there is no memory.
_Must_inspect_result_
static PGARGANEY_ACCOUNT
GarganeyOpenAccount(VOID)
{
    PGARGANEY_ACCOUNT Account;

    Account = (PGARGANEY_ACCOUNT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Account), GARGANEY_POOL_TAG);
    if (Account == NULL) {
        return NULL;
    }

    Account->AuditWorkItem = IoAllocateWorkItem(GarganeyDevice);
    if (Account->AuditWorkItem == NULL) {
        ExFreePoolWithTag(Account, GARGANEY_POOL_TAG);
        return NULL;
    }

    Account->References = 2;
    return Account;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GarganeyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PGARGANEY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PGARGANEY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), GARGANEY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->Account = GarganeyOpenAccount();
    if (Client->Account == NULL) {
        ExFreePoolWithTag(Client, GARGANEY_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GarganeyDispatch;

    IoQueueWorkItem(Client->Account->AuditWorkItem, GarganeyAuditWorker, DelayedWorkQueue, Client->Account);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
GarganeyDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
GarganeyCleanupBindingContext(PVOID ProviderBindingContext)
{
    PGARGANEY_CLIENT Client = (PGARGANEY_CLIENT)ProviderBindingContext;

    GarganeyReleaseAccount(Client->Account);
    ExFreePoolWithTag(Client, GARGANEY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
GarganeyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(GarganeyProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(GarganeyProviderHandle);
    }

    // Audits may be under way still: their work items hold the device object, and with it the image.
    IoDeleteDevice(GarganeyDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = GarganeyUnload;

    Status = IoCreateDevice(
        DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &GarganeyDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&GarganeyCharacteristics, NULL, &GarganeyProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(GarganeyDevice);
    }

    return Status;
}
