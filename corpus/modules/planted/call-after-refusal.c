// nmrfuzz: module
// summary: Client of one provider at a time that opens a session also with a provider that has refused it.
// provides: 0
// consumes: 1
// expect: use-after-detach
// rule: R43, R58
// needs: a provider that refuses after an earlier one has gone
// interleaving: no
// hardness: 244 schedules; 964 run to completion

// There is one provider at a time, so what it is called with lies in one place. A further offer is declined as long as
// that place is taken, which is from the offer to the cleanup.

#include <ntddk.h>
#include <netioddk.h>

typedef struct _BEACON_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Open)(_In_ PVOID ProviderBindingContext);
    VOID(NTAPI *Close)(_In_ PVOID ProviderBindingContext);
} BEACON_PROVIDER_DISPATCH, *PBEACON_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BeaconUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN BeaconAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BeaconDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BeaconCleanupBindingContext;

static const NPIID BeaconNpiId = { 0x468813ea, 0xe7be, 0x4f09, { 0xa9, 0x5a, 0x9b, 0x92, 0x34, 0x76, 0xcb, 0x31 } };
static const NPI_MODULEID BeaconModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x9a091de8, 0x2372, 0x4811, { 0x95, 0x1d, 0x98, 0xbb, 0xab, 0xe9, 0x19, 0x6a } } }
};

static const NPI_CLIENT_CHARACTERISTICS BeaconCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BeaconAttachProvider,
    BeaconDetachProvider,
    BeaconCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BeaconNpiId, &BeaconModuleId, 0, NULL }
};

static HANDLE BeaconClientHandle;
static LONG BeaconTaken;
static PVOID BeaconProviderContext;
static CONST VOID *BeaconProviderDispatch; // NULL until there has been a provider.

static VOID
BeaconOpen(VOID)
{
    const BEACON_PROVIDER_DISPATCH *Provider = (const BEACON_PROVIDER_DISPATCH *)BeaconProviderDispatch;

    if (Provider != NULL) {
        Provider->Open(BeaconProviderContext);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BeaconAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    if (InterlockedCompareExchange(&BeaconTaken, 1, 0) != 0) {
        return STATUS_NOINTERFACE;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, &BeaconTaken, NULL, &BeaconProviderContext, &BeaconProviderDispatch);

    // Defect: after a refusal the outputs hold what they held before, here those of a provider that has gone.
    BeaconOpen();
    if (Status != STATUS_SUCCESS) {
        InterlockedExchange(&BeaconTaken, 0);
    }
    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BeaconDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BeaconCleanupBindingContext(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    InterlockedExchange(&BeaconTaken, 0);
}

_Use_decl_annotations_
static VOID
BeaconUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BeaconClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BeaconClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BeaconUnload;
    return NmrRegisterClient(&BeaconCharacteristics, NULL, &BeaconClientHandle);
}
