// nmrfuzz: module
// summary: Client with a sequence lock whose number is volatile but whose data are not, and which has no barriers.
// provides: 0
// consumes: 1
// expect: data-race
// rule: none
// needs: a provider leaves while the DPC updates the total
// interleaving: yes
// hardness: 3 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define KNOT_POOL_TAG 'tonK'
#define KNOT_STEP 0x60000000UL // so that the lower word runs over soon

typedef struct _KNOT_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG64 TotalAtAttach;
} KNOT_BINDING, *PKNOT_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD KnotUnload;
static KDEFERRED_ROUTINE KnotDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN KnotAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN KnotDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN KnotCleanupBindingContext;

static const NPIID KnotNpiId = { 0xa5c08d12, 0x40b2, 0x543d, { 0xa7, 0xf9, 0xd2, 0xa2, 0xc2, 0x82, 0xcc, 0xb5 } };
static const NPI_MODULEID KnotModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1806ab07, 0x398e, 0x5129, { 0xa3, 0x47, 0x0f, 0x87, 0x00, 0xb4, 0xa7, 0x08 } } }
};

static const NPI_CLIENT_CHARACTERISTICS KnotCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    KnotAttachProvider,
    KnotDetachProvider,
    KnotCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &KnotNpiId, &KnotModuleId, 0, NULL }
};

static HANDLE KnotClientHandle;
static KDPC KnotDpc;
static KSPIN_LOCK KnotWriterLock; // one DPC at a time
static volatile ULONG KnotSequence; // odd while a writer is at the words
static ULONG KnotLow;
static ULONG KnotHigh;
static LONG KnotTraced;

// The number of the next line in the log.
static VOID
KnotTrace(VOID)
{
    InterlockedIncrement(&KnotTraced);
}

_Requires_lock_held_(KnotWriterLock)
static VOID
KnotAdd(_In_ ULONG Amount)
{
    ULONG Low = KnotLow + Amount;
    ULONG High = KnotHigh + (Low < Amount ? 1 : 0);

    KnotSequence++;
    KnotLow = Low;
    KnotHigh = High;
    KnotSequence++;
}

static ULONG64
KnotTotal(VOID)
{
    ULONG Before;
    ULONG Low;
    ULONG High;

    do {
        while (((Before = KnotSequence) & 1) != 0) {
            YieldProcessor();
        }
        // Defect: neither the compiler nor the processor has to read the words between the two looks at the number.
        Low = KnotLow;
        High = KnotHigh;
    } while (KnotSequence != Before);
    return (ULONG64)High << 32 | Low;
}

_Use_decl_annotations_
static VOID
KnotDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    KnotTrace();
    KeAcquireSpinLockAtDpcLevel(&KnotWriterLock);
    KnotAdd(KNOT_STEP);
    KeReleaseSpinLockFromDpcLevel(&KnotWriterLock);
    KnotTrace();
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KnotAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PKNOT_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PKNOT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), KNOT_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    KnotTrace();
    Binding->TotalAtAttach = KnotTotal();
    KnotTrace();

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, KNOT_POOL_TAG);
        return Status;
    }

    KeInsertQueueDpc(&KnotDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KnotDetachProvider(PVOID ClientBindingContext)
{
    PKNOT_BINDING Binding = (PKNOT_BINDING)ClientBindingContext;

    KnotTrace();
    NT_ASSERT(KnotTotal() >= Binding->TotalAtAttach);
    KnotTrace();
    KeInsertQueueDpc(&KnotDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
KnotCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, KNOT_POOL_TAG);
}

_Use_decl_annotations_
static VOID
KnotUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(KnotClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(KnotClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = KnotUnload;
    KeInitializeDpc(&KnotDpc, KnotDpcRoutine, NULL);
    KeInitializeSpinLock(&KnotWriterLock);
    return NmrRegisterClient(&KnotCharacteristics, NULL, &KnotClientHandle);
}
