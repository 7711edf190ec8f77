// nmrfuzz: module
// summary: Client with a ring of plain slots between one producer thread and one consumer thread, ordered by two semaphores.
// provides: 0
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// RazorbillFree counts slots that the producer may fill, RazorbillFull those that the consumer may empty. Each side has
// an index of its own, and a slot belongs to whoever took the count for it. Requests to stop go through the ring, too.

#include <ntddk.h>
#include <netioddk.h>

#define RAZORBILL_POOL_TAG 'ozaR'
#define RAZORBILL_SLOTS 2

typedef enum _RAZORBILL_THREAD { RazorbillProducer, RazorbillConsumer, RazorbillThreads } RAZORBILL_THREAD;

typedef struct _RAZORBILL_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
} RAZORBILL_BINDING, *PRAZORBILL_BINDING;

typedef struct _RAZORBILL_SLOT {
    ULONG Number;
    BOOLEAN Last;
} RAZORBILL_SLOT, *PRAZORBILL_SLOT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD RazorbillUnload;
static KSTART_ROUTINE RazorbillProducerThread;
static KSTART_ROUTINE RazorbillConsumerThread;
static NPI_CLIENT_ATTACH_PROVIDER_FN RazorbillAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN RazorbillDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN RazorbillCleanupBindingContext;

static const NPIID RazorbillNpiId = { 0x0a968564, 0xec56, 0x5fa6, { 0xb2, 0xb9, 0x28, 0xce, 0xdc, 0xd6, 0x4a, 0x96 } };
static const NPI_MODULEID RazorbillModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xef024df6, 0x157c, 0x599e, { 0x90, 0x4f, 0x88, 0xca, 0xd0, 0xce, 0xeb, 0xba } } }
};

static const NPI_CLIENT_CHARACTERISTICS RazorbillCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    RazorbillAttachProvider,
    RazorbillDetachProvider,
    RazorbillCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &RazorbillNpiId, &RazorbillModuleId, 0, NULL }
};

static HANDLE RazorbillClientHandle;
static PKTHREAD RazorbillThreadObjects[RazorbillThreads];
static KSEMAPHORE RazorbillWork; // One count for each number to produce, and one for the request to stop.
static KEVENT RazorbillStop;
static KSEMAPHORE RazorbillFree;
static KSEMAPHORE RazorbillFull;
static RAZORBILL_SLOT RazorbillRing[RAZORBILL_SLOTS];
static ULONG64 RazorbillSum;    // the consumer's
static ULONG RazorbillProduced; // the producer's

_Use_decl_annotations_
static VOID
RazorbillProducerThread(PVOID StartContext)
{
    BOOLEAN Last;
    PRAZORBILL_SLOT Slot;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&RazorbillWork, Executive, KernelMode, FALSE, NULL);
        Last = KeReadStateEvent(&RazorbillStop) != 0;

        KeWaitForSingleObject(&RazorbillFree, Executive, KernelMode, FALSE, NULL);
        Slot = &RazorbillRing[RazorbillProduced++ % RAZORBILL_SLOTS];
        Slot->Number = Last ? 0 : RazorbillProduced;
        Slot->Last = Last;
        KeReleaseSemaphore(&RazorbillFull, IO_NO_INCREMENT, 1, FALSE);
    } while (!Last);
}

_Use_decl_annotations_
static VOID
RazorbillConsumerThread(PVOID StartContext)
{
    ULONG Next = 0;
    BOOLEAN Last;
    PRAZORBILL_SLOT Slot;

    UNREFERENCED_PARAMETER(StartContext);

    do {
        KeWaitForSingleObject(&RazorbillFull, Executive, KernelMode, FALSE, NULL);
        Slot = &RazorbillRing[Next++ % RAZORBILL_SLOTS];
        RazorbillSum += Slot->Number;
        Last = Slot->Last;
        KeReleaseSemaphore(&RazorbillFree, IO_NO_INCREMENT, 1, FALSE);
    } while (!Last);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RazorbillAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PRAZORBILL_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = (PRAZORBILL_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), RAZORBILL_POOL_TAG);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->BindingHandle = NmrBindingHandle;

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, NULL, &Binding->ProviderBindingContext, &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS) {
        ExFreePoolWithTag(Binding, RAZORBILL_POOL_TAG);
        return Status;
    }

    KeReleaseSemaphore(&RazorbillWork, IO_NO_INCREMENT, 2, FALSE);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
RazorbillDetachProvider(PVOID ClientBindingContext)
{
    UNREFERENCED_PARAMETER(ClientBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
RazorbillCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, RAZORBILL_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
RazorbillStartThread(_In_ RAZORBILL_THREAD Thread, _In_ PKSTART_ROUTINE Routine)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Routine, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&RazorbillThreadObjects[Thread], NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
RazorbillJoin(_In_ RAZORBILL_THREAD Thread)
{
    KeWaitForSingleObject(RazorbillThreadObjects[Thread], Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(RazorbillThreadObjects[Thread]);
}

static VOID
RazorbillStopProducer(VOID)
{
    KeSetEvent(&RazorbillStop, IO_NO_INCREMENT, FALSE);
    KeReleaseSemaphore(&RazorbillWork, IO_NO_INCREMENT, 1, FALSE);
    RazorbillJoin(RazorbillProducer);
}

_Use_decl_annotations_
static VOID
RazorbillUnload(PDRIVER_OBJECT DriverObject)
{
    ULONG64 Produced;

    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterClient(RazorbillClientHandle) == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(RazorbillClientHandle);
    }

    // The consumer ends when it has got what the producer put in last.
    RazorbillStopProducer();
    RazorbillJoin(RazorbillConsumer);
    Produced = RazorbillProduced - 1;
    NT_ASSERT(RazorbillSum == Produced * (Produced + 1) / 2);
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = RazorbillUnload;
    KeInitializeEvent(&RazorbillStop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&RazorbillWork, 0, MAXLONG);
    KeInitializeSemaphore(&RazorbillFree, RAZORBILL_SLOTS, RAZORBILL_SLOTS);
    KeInitializeSemaphore(&RazorbillFull, 0, RAZORBILL_SLOTS);

    Status = RazorbillStartThread(RazorbillProducer, RazorbillProducerThread);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = RazorbillStartThread(RazorbillConsumer, RazorbillConsumerThread);
    if (!NT_SUCCESS(Status)) {
        RazorbillStopProducer();
        return Status;
    }

    Status = NmrRegisterClient(&RazorbillCharacteristics, NULL, &RazorbillClientHandle);
    if (!NT_SUCCESS(Status)) {
        RazorbillStopProducer();
        RazorbillJoin(RazorbillConsumer);
    }

    return Status;
}
