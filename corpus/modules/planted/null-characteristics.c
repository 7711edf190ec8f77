// nmrfuzz: module
// summary: Provider that reads the NPI-specific characteristics of a client that has none.
// provides: 1
// consumes: 0
// expect: null-dereference
// rule: R56
// needs: a client without NPI-specific characteristics
// interleaving: no
// hardness: 1 schedules; 2 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define GATE_POOL_TAG 'etaG'
#define GATE_RETRY_INTERVAL (-10 * 1000 * 10) // 10 ms in 100 ns units, relative

typedef ULONGLONG NTAPI GATE_QUERY_FN(_In_ PVOID ProviderBindingContext);

typedef struct _GATE_PROVIDER_DISPATCH {
    GATE_QUERY_FN *QueryTime;
} GATE_PROVIDER_DISPATCH;

// Client characteristics of this NPI, which are optional.
typedef struct _GATE_CLIENT_PROPERTIES {
    ULONG Version;
} GATE_CLIENT_PROPERTIES;

typedef struct _GATE_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONGLONG AttachTime;
} GATE_CLIENT, *PGATE_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD Unload;
static NPI_PROVIDER_ATTACH_CLIENT_FN ProviderAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN ProviderDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN ProviderCleanupBindingContext;
static GATE_QUERY_FN GateQueryTime;

static const NPIID GateNpiId = { 0xdf4c369e, 0xf0d0, 0x528a, { 0xa1, 0x4e, 0xba, 0x93, 0x50, 0x0a, 0x00, 0x9c } };
static const NPI_MODULEID GateModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x2d022baa, 0xb59d, 0x5bc7, { 0x8c, 0x43, 0xea, 0xd5, 0x7a, 0xe3, 0x17, 0xb9 } } }
};
static const GATE_PROVIDER_DISPATCH GateDispatch = { GateQueryTime };

static NPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics;
static HANDLE ProviderHandle;

_Use_decl_annotations_
static ULONGLONG NTAPI
GateQueryTime(PVOID ProviderBindingContext)
{
    PGATE_CLIENT Client = (PGATE_CLIENT)ProviderBindingContext;

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
    const GATE_CLIENT_PROPERTIES *Properties;
    PGATE_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);

    // Defect: NULL if the client has none.
    Properties = (const GATE_CLIENT_PROPERTIES *)ClientRegistrationInstance->NpiSpecificCharacteristics;
    if (Properties->Version == MAXULONG) {
        return STATUS_NOINTERFACE;
    }

    Client = (PGATE_CLIENT)ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(GATE_CLIENT), GATE_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    Client->AttachTime = KeQueryInterruptTime();

    *ProviderBindingContext = Client;
    *ProviderDispatch = &GateDispatch;
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
    ExFreePoolWithTag(ProviderBindingContext, GATE_POOL_TAG);
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
        Interval.QuadPart = GATE_RETRY_INTERVAL;
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
    Instance->NpiId = &GateNpiId;
    Instance->ModuleId = &GateModuleId;
    Instance->Number = 0;
    Instance->NpiSpecificCharacteristics = NULL;

    return NmrRegisterProvider(&ProviderCharacteristics, NULL, &ProviderHandle);
}
