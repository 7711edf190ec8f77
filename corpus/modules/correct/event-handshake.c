// nmrfuzz: module
// summary: Provider whose attach callbacks ask its thread by one event and get the answer by another; the data are plain.
// provides: 1
// consumes: 0
// expect: none
// needs: nothing
// interleaving: no

// One question at a time: PetrelMutex is held from the question to the answer. Each event hands the two plain
// variables over to the other side.

#include <ntddk.h>
#include <netioddk.h>

#define PETREL_POOL_TAG 'rteP'

typedef struct _PETREL_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} PETREL_PROVIDER_DISPATCH;

typedef struct _PETREL_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
    ULONG Rank; // as the thread has written it
} PETREL_CLIENT, *PPETREL_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PetrelUnload;
static KSTART_ROUTINE PetrelThread;
static NPI_PROVIDER_ATTACH_CLIENT_FN PetrelAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN PetrelDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN PetrelCleanupBindingContext;

static const NPIID PetrelNpiId = { 0x4567c480, 0x91ed, 0x5419, { 0x92, 0x6d, 0x1d, 0x72, 0x2e, 0xec, 0xb9, 0x6a } };
static const NPI_MODULEID PetrelModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xfac5ad4b, 0x8172, 0x5f98, { 0xb3, 0x28, 0xd4, 0x99, 0x83, 0xeb, 0x8a, 0x19 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS PetrelCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    PetrelAttachClient,
    PetrelDetachClient,
    PetrelCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &PetrelNpiId, &PetrelModuleId, 0, NULL }
};

static HANDLE PetrelProviderHandle;
static PKTHREAD PetrelThreadObject;
static FAST_MUTEX PetrelMutex;
static KEVENT PetrelAsked;    // synchronization events
static KEVENT PetrelAnswered;
static PPETREL_CLIENT PetrelQuestion; // NULL: the thread shall end
static ULONG PetrelAnswer;

static ULONG NTAPI
PetrelVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const PETREL_PROVIDER_DISPATCH PetrelDispatch = { PetrelVersion };

_Use_decl_annotations_
static VOID
PetrelThread(PVOID StartContext)
{
    PPETREL_CLIENT Client;
    ULONG Ranks = 0;

    UNREFERENCED_PARAMETER(StartContext);

    for (;;) {
        KeWaitForSingleObject(&PetrelAsked, Executive, KernelMode, FALSE, NULL);
        Client = PetrelQuestion;
        if (Client == NULL) {
            break;
        }
        Client->Rank = ++Ranks;
        PetrelAnswer = Client->Rank;
        KeSetEvent(&PetrelAnswered, IO_NO_INCREMENT, FALSE);
    }
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PetrelAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PPETREL_CLIENT Client;
    ULONG Rank;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PPETREL_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), PETREL_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    ExAcquireFastMutex(&PetrelMutex);
    PetrelQuestion = Client;
    KeSetEvent(&PetrelAsked, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(&PetrelAnswered, Executive, KernelMode, FALSE, NULL);
    Rank = PetrelAnswer;
    ExReleaseFastMutex(&PetrelMutex);
    NT_ASSERT(Rank == Client->Rank);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &PetrelDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
PetrelDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
PetrelCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, PETREL_POOL_TAG);
}

_Must_inspect_result_
static NTSTATUS
PetrelStartThread(VOID)
{
    HANDLE ThreadHandle;
    NTSTATUS Status;

    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, PetrelThread, NULL);
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    // A fresh kernel handle with full access: this cannot fail.
    Status = ObReferenceObjectByHandle(
        ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID *)&PetrelThreadObject, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(ThreadHandle);
    return Status;
}

static VOID
PetrelStopThread(VOID)
{
    PetrelQuestion = NULL;
    KeSetEvent(&PetrelAsked, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(PetrelThreadObject, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(PetrelThreadObject);
}

_Use_decl_annotations_
static VOID
PetrelUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(PetrelProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(PetrelProviderHandle);
    }

    PetrelStopThread();
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = PetrelUnload;
    ExInitializeFastMutex(&PetrelMutex);
    KeInitializeEvent(&PetrelAsked, SynchronizationEvent, FALSE);
    KeInitializeEvent(&PetrelAnswered, SynchronizationEvent, FALSE);

    Status = PetrelStartThread();
    if (!NT_SUCCESS(Status)) {
        return Status;
    }

    Status = NmrRegisterProvider(&PetrelCharacteristics, NULL, &PetrelProviderHandle);
    if (!NT_SUCCESS(Status)) {
        PetrelStopThread();
    }

    return Status;
}
