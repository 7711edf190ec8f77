// nmrfuzz: module
// summary: Client whose DPC keeps a 64-bit total in two words that its callbacks put together without a lock.
// provides: 0
// consumes: 1
// expect: bug-check, data-race
// rule: none
// needs: a provider leaves between the two stores of the DPC
// interleaving: yes
// hardness: 25 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define BITTERN_POOL_TAG 'ttiB'
#define BITTERN_STEP 0x60000000UL // so that the lower word runs over soon

typedef struct _BITTERN_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG64 TotalAtAttach;
} BITTERN_BINDING, *PBITTERN_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BitternUnload;
static KDEFERRED_ROUTINE BitternDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN BitternAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BitternDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BitternCleanupBindingContext;

static const NPIID BitternNpiId = { 0xc64d478b, 0xfcca, 0x533f, { 0x9d, 0xda, 0xb6, 0x28, 0xc7, 0xad, 0x47, 0xdb } };
static const NPI_MODULEID BitternModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xc7e4bbb6, 0x22b4, 0x529f, { 0x89, 0xf6, 0xe3, 0xed, 0x2b, 0x52, 0x0e, 0xe7 } } }
};

static const NPI_CLIENT_CHARACTERISTICS BitternCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BitternAttachProvider,
    BitternDetachProvider,
    BitternCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BitternNpiId, &BitternModuleId, 0, NULL }
};

static HANDLE BitternClientHandle;
static KDPC BitternDpc;
static KSPIN_LOCK BitternWriterLock; // one DPC at a time
static ULONG BitternLow;
static ULONG BitternHigh;
static LONG BitternTraced;

// The number of the next line in the log.
static VOID
BitternTrace(VOID)
{
    InterlockedIncrement(&BitternTraced);
}

_Requires_lock_held_(BitternWriterLock)
static VOID
BitternAdd(_In_ ULONG Amount)
{
    ULONG Low = BitternLow + Amount;
    ULONG High = BitternHigh + (Low < Amount ? 1 : 0);

    // Defect: whoever reads between the two sees a total that never was.
    BitternLow = Low;
    BitternHigh = High;
}

static ULONG64
BitternTotal(VOID)
{
    ULONG64 High = BitternHigh;

    return High << 32 | BitternLow;
}

_Use_decl_annotations_
static VOID
BitternDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    BitternTrace();
    KeAcquireSpinLockAtDpcLevel(&BitternWriterLock);
    BitternAdd(BITTERN_STEP);
    KeReleaseSpinLockFromDpcLevel(&BitternWriterLock);
    BitternTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BitternAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBITTERN_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PBITTERN_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BITTERN_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    BitternTrace();
    Binding->TotalAtAttach = BitternTotal();
    BitternTrace();

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, BITTERN_POOL_TAG);
        return Status;
    }

    KeInsertQueueDpc(&BitternDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BitternDetachProvider(PVOID ClientBindingContext)
{
    PBITTERN_BINDING Binding = (PBITTERN_BINDING)ClientBindingContext;

    BitternTrace();
    NT_ASSERT(BitternTotal() >= Binding->TotalAtAttach);
    BitternTrace();
    KeInsertQueueDpc(&BitternDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BitternCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, BITTERN_POOL_TAG);
}

_Use_decl_annotations_
static VOID
BitternUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(BitternClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(BitternClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BitternUnload;
    KeInitializeDpc(&BitternDpc, BitternDpcRoutine, NULL);
    KeInitializeSpinLock(&BitternWriterLock);
    return NmrRegisterClient(&BitternCharacteristics, NULL, &BitternClientHandle);
}
