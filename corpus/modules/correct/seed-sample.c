// nmrfuzz: module
// summary: Provider whose Unload has the shape of the documentation's example: wait if pending, else the error branch.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// In the example everything but STATUS_PENDING goes to the error branch, STATUS_SUCCESS included. This driver keeps
// that shape and gives the branch a body: success there is no error, and a real failure means that the driver is still
// registered and its image must not go away.

#include <ntddk.h>
#include <netioddk.h>

#define CLOCK_POOL_TAG 'kclC'
#define CLOCK_RETRY_INTERVAL (-10 * 1000 * 10) // 10 ms in 100 ns units, relative

typedef ULONGLONG NTAPI CLOCK_QUERY_FN(_In_ PVOID ProviderBindingContext);

typedef struct _CLOCK_PROVIDER_DISPATCH {
    CLOCK_QUERY_FN *QueryTime;
} CLOCK_PROVIDER_DISPATCH;

typedef struct _CLOCK_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONGLONG AttachTime;
} CLOCK_CLIENT, *PCLOCK_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD Unload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ProviderAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ProviderDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ProviderCleanupBindingContext;
static CLOCK_QUERY_FN ClockQueryTime;

static const NPIID ClockNpiId = { 0xaf31bfe0, 0x0088, 0x5af6, { 0x88, 0x9b, 0xcf, 0xc6, 0x49, 0xa3, 0x03, 0xf3 } };
static const NPI_MODULEID ClockModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf8412e46, 0x3976, 0x550b, { 0xaf, 0xa4, 0x1a, 0x4e, 0x0d, 0xe6, 0x61, 0x26 } } }
};
static const CLOCK_PROVIDER_DISPATCH ClockDispatch = { ClockQueryTime };

static NPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics;
static HANDLE ProviderHandle;

_Use_decl_annotations_
static ULONGLONG NTAPI
ClockQueryTime(PVOID ProviderBindingContext)
{
    PCLOCK_CLIENT Client = (PCLOCK_CLIENT)ProviderBindingContext;

    return KeQueryInterruptTime() - Client->AttachTime;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ProviderAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PCLOCK_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    // Only one implementation of the client is understood.
    if (ClientRegistrationInstance->Number != 0) {
        return STATUS_NOINTERFACE;
    }

    Client = (PCLOCK_CLIENT)ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(CLOCK_CLIENT), CLOCK_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    Client->AttachTime = KeQueryInterruptTime();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &ClockDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
ProviderDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
ProviderCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, CLOCK_POOL_TAG);
}

_Use_decl_annotations_
static VOID
Unload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    // Deregister the provider module from the NMR
    Status = NmrDeregisterProvider(ProviderHandle);

    // Check if pending
    if (Status == STATUS_PENDING) {
        // Wait for the deregistration to be completed
        NmrWaitForProviderDeregisterComplete(ProviderHandle);
    }

    // An error occurred
    else {
        LARGE_INTEGER Interval;

        // Nothing was begun, so NMR may still call this driver. Unload cannot fail: it can only try again.
        Interval.QuadPart = CLOCK_RETRY_INTERVAL;
        while (!NT_SUCCESS(Status)) {
            KeDelayExecutionThread(KernelMode, FALSE, &Interval);
            Status = NmrDeregisterProvider(ProviderHandle);
        }
        if (Status == STATUS_PENDING) {
            NmrWaitForProviderDeregisterComplete(ProviderHandle);
        }
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NPI_REGISTRATION_INSTANCE *Instance;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = Unload;

    ProviderCharacteristics.Version = 0;
    ProviderCharacteristics.Length = sizeof(NPI_PROVIDER_CHARACTERISTICS);
    ProviderCharacteristics.ProviderAttachClient = ProviderAttachClient;
    ProviderCharacteristics.ProviderDetachClient = ProviderDetachClient;
    ProviderCharacteristics.ProviderCleanupBindingContext = ProviderCleanupBindingContext;

    Instance = &ProviderCharacteristics.ProviderRegistrationInstance;
    Instance->Version = 0;
    Instance->Size = sizeof(NPI_REGISTRATION_INSTANCE);
    Instance->NpiId = &ClockNpiId;
    Instance->ModuleId = &ClockModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;

    return NmrRegisterProvider(&ProviderCharacteristics, NULL, &ProviderHandle);
}
