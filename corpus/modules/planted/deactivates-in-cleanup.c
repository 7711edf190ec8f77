// nmrfuzz: module
// summary: Provider that deregisters and waits for it in the cleanup callback of its last client.
// provides: 1
// consumes: 0
// expect: deadlock, irql
// rule: R104
// needs: last client leaves by itself
// interleaving: no
// hardness: 24 schedules; 9 run to completion

#include <ntddk.h>
#include <netioddk.h>

#define TENANCY_POOL_TAG 'aneT'

typedef struct _TENANCY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} TENANCY_CLIENT, *PTENANCY_CLIENT;

typedef struct _TENANCY_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} TENANCY_PROVIDER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TenancyUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TenancyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN TenancyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN TenancyCleanupBindingContext;

static const NPIID TenancyNpiId = { 0x59e92098, 0xd65c, 0x5bfd, { 0xa1, 0x44, 0xff, 0xb5, 0x15, 0xdd, 0xce, 0xdd } };
static const NPI_MODULEID TenancyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x21a6fa12, 0x8e90, 0x5215, { 0x85, 0x14, 0xcb, 0x59, 0xcc, 0xe4, 0xab, 0x20 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TenancyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TenancyAttachClient,
    TenancyDetachClient,
    TenancyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TenancyNpiId, &TenancyModuleId, 0, NULL }
};

static EX_RUNDOWN_REF TenancyRundown; // Held by a cleanup callback that deactivates.
static KEVENT TenancyRegistered;      // TenancyProviderHandle has been stored.
static HANDLE TenancyProviderHandle;
static KSPIN_LOCK TenancyLock;
_Guarded_by_(TenancyLock) static ULONG TenancyClients;
_Guarded_by_(TenancyLock) static BOOLEAN TenancyActive;

static ULONG NTAPI
TenancyVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const TENANCY_PROVIDER_DISPATCH TenancyDispatch = { TenancyVersion };

// TRUE for the one caller that has to deregister.
_Must_inspect_result_
static BOOLEAN
TenancyClaim(VOID)
{
    BOOLEAN Claimed;
    KIRQL OldIrql;

    KeAcquireSpinLock(&TenancyLock, &OldIrql);
    Claimed = TenancyActive;
    TenancyActive = FALSE;
    KeReleaseSpinLock(&TenancyLock, OldIrql);
    return Claimed;
}

static VOID
TenancyDeactivate(VOID)
{
    if (NmrDeregisterProvider(TenancyProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(TenancyProviderHandle);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TenancyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTENANCY_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PTENANCY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), TENANCY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&TenancyLock, &OldIrql);
    TenancyClients++;
    KeReleaseSpinLock(&TenancyLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &TenancyDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TenancyDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TenancyCleanupBindingContext(PVOID ProviderBindingContext)
{
    BOOLEAN Last;
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, TENANCY_POOL_TAG);

    KeAcquireSpinLock(&TenancyLock, &OldIrql);
    TenancyClients--;
    Last = TenancyClients == 0;
    KeReleaseSpinLock(&TenancyLock, OldIrql);

    // Defect: the wait lasts until all cleanup callbacks have returned, this one included.
    if (Last && KeReadStateEvent(&TenancyRegistered) != 0 && ExAcquireRundownProtection(&TenancyRundown)) {
        if (TenancyClaim()) {
            TenancyDeactivate();
        }
        ExReleaseRundownProtection(&TenancyRundown);
    }
}

_Use_decl_annotations_
static VOID
TenancyUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (TenancyClaim()) {
        TenancyDeactivate();
    }

    // If a cleanup callback has the claim, it is through with the deregistration when this returns.
    ExWaitForRundownProtectionRelease(&TenancyRundown);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TenancyUnload;

    KeInitializeSpinLock(&TenancyLock);
    KeInitializeEvent(&TenancyRegistered, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&TenancyRundown);
    TenancyActive = TRUE;

    Status = NmrRegisterProvider(&TenancyCharacteristics, NULL, &TenancyProviderHandle);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    KeSetEvent(&TenancyRegistered, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}
