// nmrfuzz: module
// summary: Client whose DPC updates a two-word total under a sequence lock of volatile words and memory barriers.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// The reader takes both words between two looks at the sequence number, and tries again if a writer was there. Writers
// are DPCs and exclude each other by a spin lock, which readers never touch.

#include <ntddk.h>
#include <netioddk.h>

#define AVOCET_POOL_TAG 'covA'
#define AVOCET_STEP 0x60000000UL // so that the lower word runs over soon

typedef struct _AVOCET_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    ULONG64 TotalAtAttach;
} AVOCET_BINDING, *PAVOCET_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD AvocetUnload;
static KDEFERRED_ROUTINE AvocetDpcRoutine;
static NPI_CLIENT_ATTACH_PROVIDER_FN AvocetAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN AvocetDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN AvocetCleanupBindingContext;

static const NPIID AvocetNpiId = { 0x7fa055ac, 0x486c, 0x5bc7, { 0xb1, 0x09, 0x13, 0xdc, 0xfa, 0x6e, 0x86, 0xdf } };
static const NPI_MODULEID AvocetModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xf92cf730, 0x82ab, 0x5399, { 0x84, 0x4e, 0x29, 0x5e, 0x00, 0x59, 0xf1, 0x15 } } }
};

static const NPI_CLIENT_CHARACTERISTICS AvocetCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    AvocetAttachProvider,
    AvocetDetachProvider,
    AvocetCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &AvocetNpiId, &AvocetModuleId, 0, NULL }
};

static HANDLE AvocetClientHandle;
static KDPC AvocetDpc;
static KSPIN_LOCK AvocetWriterLock; // one DPC at a time
static volatile ULONG AvocetSequence; // odd while a writer is at the words
static volatile ULONG AvocetLow;
static volatile ULONG AvocetHigh;

_Requires_lock_held_(AvocetWriterLock)
static VOID
AvocetAdd(_In_ ULONG Amount)
{
    ULONG Low = AvocetLow + Amount;
    ULONG High = AvocetHigh + (Low < Amount ? 1 : 0);

    AvocetSequence++;
    KeMemoryBarrier();
    AvocetLow = Low;
    AvocetHigh = High;
    KeMemoryBarrier();
    AvocetSequence++;
}

static ULONG64
AvocetTotal(VOID)
{
    ULONG Before;
    ULONG Low;
    ULONG High;

    do {
        while (((Before = AvocetSequence) & 1) != 0) {
            YieldProcessor();
        }
        KeMemoryBarrier();
        Low = AvocetLow;
        High = AvocetHigh;
        KeMemoryBarrier();
    } while (AvocetSequence != Before);
    return (ULONG64)High << 32 | Low;
}

_Use_decl_annotations_
static VOID
AvocetDpcRoutine(PKDPC Dpc, PVOID DeferredContext, PVOID SystemArgument1, PVOID SystemArgument2)
{
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(DeferredContext);
    UNREFERENCED_PARAMETER(SystemArgument1);
    UNREFERENCED_PARAMETER(SystemArgument2);

    KeAcquireSpinLockAtDpcLevel(&AvocetWriterLock);
    AvocetAdd(AVOCET_STEP);
    KeReleaseSpinLockFromDpcLevel(&AvocetWriterLock);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AvocetAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PAVOCET_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PAVOCET_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), AVOCET_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;
    Binding->TotalAtAttach = AvocetTotal();

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, AVOCET_POOL_TAG);
        return Status;
    }

    KeInsertQueueDpc(&AvocetDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
AvocetDetachProvider(PVOID ClientBindingContext)
{
    PAVOCET_BINDING Binding = (PAVOCET_BINDING)ClientBindingContext;

    NT_ASSERT(AvocetTotal() >= Binding->TotalAtAttach);
    KeInsertQueueDpc(&AvocetDpc, NULL, NULL);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
AvocetCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, AVOCET_POOL_TAG);
}

_Use_decl_annotations_
static VOID
AvocetUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(AvocetClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(AvocetClientHandle);
    }

    KeFlushQueuedDpcs();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = AvocetUnload;
    KeInitializeDpc(&AvocetDpc, AvocetDpcRoutine, NULL);
    KeInitializeSpinLock(&AvocetWriterLock);
    return NmrRegisterClient(&AvocetCharacteristics, NULL, &AvocetClientHandle);
}
