// nmrfuzz: module
// summary: Provider whose DPCs and callbacks count at DISPATCH_LEVEL in a slot for each processor, without a lock.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// At DISPATCH_LEVEL a thread has its processor to itself, so a slot has one writer at a time, and the next one on that
// processor comes after it. Unload adds up when nobody is left.

#include <ntddk.h>
#include <netioddk.h>

#define NODDY_POOL_TAG 'ddoN'

typedef struct _NODDY_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} NODDY_PROVIDER_DISPATCH;

typedef struct _NODDY_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} NODDY_CLIENT, *PNODDY_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD NoddyUnload;
static KDEFERRED_ROUTINE NoddyDpcRoutine;
static NPI_PROVIDER_ATTACH_CLIENT_FN NoddyAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN NoddyDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN NoddyCleanupBindingContext;

static const NPIID NoddyNpiId = { 0xa43ac107, 0x721a, 0x5b88, { 0xad, 0x85, 0xed, 0xbf, 0xa1, 0xf5, 0xc0, 0x6d } };
static const NPI_MODULEID NoddyModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xeb6e92df, 0x4703, 0x5720, { 0x97, 0x41, 0xb3, 0xf0, 0xd9, 0xbb, 0x1b, 0x70 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS NoddyCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    NoddyAttachClient,
    NoddyDetachClient,
    NoddyCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &NoddyNpiId, &NoddyModuleId, 0, NULL }
};

static HANDLE NoddyProviderHandle;
static KDPC NoddyDpc;
static ULONG NoddyProcessors;
static PULONG NoddyCounts; // one for each processor
static LONG NoddyCalls;    // what the sum has to be

static ULONG NTAPI
NoddyVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const NODDY_PROVIDER_DISPATCH NoddyDispatch = { NoddyVersion };

static VOID
NoddyCount(VOID)
{
    KIRQL OldIrql;

    InterlockedIncrement(&NoddyCalls);
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    NoddyCounts[KeGetCurrentProcessorNumberEx(NULL)]++;
    KeLowerIrql(OldIrql);
}

_Use_decl_annotations_
static VOID
NoddyDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    NoddyCount();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
NoddyAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PNODDY_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PNODDY_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), NODDY_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;
    NoddyCount();
    KeInsertQueueDpc(&NoddyDpc, NULL, NULL);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &NoddyDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
NoddyDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    NoddyCount();
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
NoddyCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, NODDY_POOL_TAG);
}

_Use_decl_annotations_
static VOID
NoddyUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG Sum = 0;
    ULONG Index;

    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(NoddyProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(NoddyProviderHandle);
    }

    KeFlushQueuedDpcs();
    for (Index = 0; Index < NoddyProcessors; Index++) {
        Sum += NoddyCounts[Index];
    }
    NT_ASSERT(Sum == (ULONG)NoddyCalls);
    ExFreePoolWithTag(NoddyCounts, NODDY_POOL_TAG);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = NoddyUnload;
    KeInitializeDpc(&NoddyDpc, NoddyDpcRoutine, NULL);

    NoddyProcessors = KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS);
    NoddyCounts = (PULONG)ExAllocatePool2(POOL_FLAG_NON_PAGED, NoddyProcessors * sizeof(*NoddyCounts), NODDY_POOL_TAG);
    if (NoddyCounts == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrRegisterProvider(&NoddyCharacteristics, NULL, &NoddyProviderHandle);
    if (!NT_SUCCESS(Status)) {
        ExFreePoolWithTag(NoddyCounts, NODDY_POOL_TAG);
    }

    return Status;
}
