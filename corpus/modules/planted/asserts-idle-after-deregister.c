// nmrfuzz: module
// summary: Provider that asserts after the begin of its deregistration that no client is left.
// provides: 1
// consumes: 0
// expect: bug-check
// rule: none
// needs: a detach is still pending when the deregistration has been begun
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define VACANCY_POOL_TAG 'acaV'

typedef struct _VACANCY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    PIO_WORKITEM DetachWorkItem;
    LONG64 Units;
} VACANCY_CLIENT, *PVACANCY_CLIENT;

typedef struct _VACANCY_PROVIDER_DISPATCH {
    VOID(NTAPI *Charge)(_In_ PVOID ProviderBindingContext, _In_ ULONG Units);
} VACANCY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD VacancyUnload;
static IO_WORKITEM_ROUTINE VacancyDetachWorker;
static NPI_PROVIDER_ATTACH_CLIENT_FN VacancyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN VacancyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN VacancyCleanupBindingContext;

static const NPIID VacancyNpiId = { 0xf621a23d, 0xeefa, 0x5fd3, { 0x82, 0x30, 0xf2, 0x78, 0xf9, 0xfb, 0x46, 0xf1 } };
static const NPI_MODULEID VacancyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x562b9767, 0x95a9, 0x597c, { 0x88, 0x8e, 0xdf, 0xca, 0xf2, 0xfa, 0x32, 0xd6 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS VacancyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    VacancyAttachClient,
    VacancyDetachClient,
    VacancyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &VacancyNpiId, &VacancyModuleId, 0, NULL }
};

static PDEVICE_OBJECT VacancyDevice;
static HANDLE VacancyProviderHandle;
static LONG64 VacancySettledUnits;
static LONG VacancyClients;

static VOID NTAPI
VacancyCharge(_In_ PVOID ProviderBindingContext, _In_ ULONG Units)
{
    PVACANCY_CLIENT Client = (PVACANCY_CLIENT)ProviderBindingContext;

    InterlockedExchangeAdd64(&Client->Units, (LONG64)Units);
}

static const VACANCY_PROVIDER_DISPATCH VacancyDispatch = { VacancyCharge };

_Use_decl_annotations_
static VOID
VacancyDetachWorker(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PVACANCY_CLIENT Client = (PVACANCY_CLIENT)Context;
    HANDLE BindingHandle;

    UNREFERENCED_PARAMETER(DeviceObject);

    InterlockedExchangeAdd64(&VacancySettledUnits, InterlockedExchange64(&Client->Units, 0));

    // The completion may run the cleanup callback, which frees the client and this work item: out of reach after it.
    BindingHandle = Client->BindingHandle;
    NmrProviderDetachClientComplete(BindingHandle);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VacancyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PVACANCY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PVACANCY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), VACANCY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    // Allocated now, because the detach callback has no way to report that it could not be.
    Client->DetachWorkItem = IoAllocateWorkItem(VacancyDevice);
    if (Client->DetachWorkItem == NULL) {
        ExFreePoolWithTag(Client, VACANCY_POOL_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    InterlockedIncrement(&VacancyClients);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &VacancyDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
VacancyDetachClient(PVOID ProviderBindingContext)
{
    PVACANCY_CLIENT Client = (PVACANCY_CLIENT)ProviderBindingContext;

    IoQueueWorkItem(Client->DetachWorkItem, VacancyDetachWorker, DelayedWorkQueue, Client);
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI
VacancyCleanupBindingContext(PVOID ProviderBindingContext)
{
    PVACANCY_CLIENT Client = (PVACANCY_CLIENT)ProviderBindingContext;

    // Not queued any more: its routine has begun, and is perhaps what brought us here.
    IoFreeWorkItem(Client->DetachWorkItem);
    ExFreePoolWithTag(Client, VACANCY_POOL_TAG);
    InterlockedDecrement(&VacancyClients);
}

_Use_decl_annotations_
static VOID
VacancyUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterProvider(VacancyProviderHandle);

    // Defect: clients are gone after the wait, not after the call that begins it.
    NT_ASSERT(InterlockedCompareExchange(&VacancyClients, 0, 0) == 0);

    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(VacancyProviderHandle);
    }

    IoDeleteDevice(VacancyDevice);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = VacancyUnload;

    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &VacancyDevice);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&VacancyCharacteristics, NULL, &VacancyProviderHandle);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(VacancyDevice);
    }

    return Status;
}
