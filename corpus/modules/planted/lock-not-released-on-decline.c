// nmrfuzz: module
// summary: Provider for one client at a time whose attach callback declines a second one with its spin lock held.
// provides: 1
// consumes: 0
// expect: lock-misuse, irql, deadlock
// rule: R82
// needs: two clients at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define SOCKET_POOL_TAG 'kcoS'

// What a client gets through the provider dispatch.
typedef struct _SOCKET_PROVIDER_DISPATCH {
    NTSTATUS(NTAPI *Socket)(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result);
} SOCKET_PROVIDER_DISPATCH;

typedef struct _SOCKET_CLIENT {
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    const VOID *ClientDispatch;
    LONG Calls;
} SOCKET_CLIENT, *PSOCKET_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SocketUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN SocketAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN SocketDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN SocketCleanupBindingContext;

static const NPIID SocketNpiId = { 0xa90b2ffc, 0xf7c8, 0x56a7, { 0xb7, 0x9e, 0x09, 0xa2, 0x0c, 0x26, 0xe6, 0xda } };

static const NPI_MODULEID SocketModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xaf0a4cfc, 0x34d4, 0x5925, { 0xa8, 0x36, 0xdb, 0x17, 0x96, 0xa3, 0x53, 0xdb } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SocketCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SocketAttachClient,
    SocketDetachClient,
    SocketCleanupBindingContext,
    {
        0,
        sizeof(NPI_REGISTRATION_INSTANCE),
        &SocketNpiId,
        &SocketModuleId,
        0,
        NULL
    }
};

static HANDLE SocketProviderHandle;
static KSPIN_LOCK SocketLock;
_Guarded_by_(SocketLock) static BOOLEAN SocketTaken;

_Must_inspect_result_
static NTSTATUS NTAPI
SocketPlug(_In_ PVOID ProviderBindingContext, _In_ ULONG Value, _Out_ PULONG Result)
{
    PSOCKET_CLIENT Client = (PSOCKET_CLIENT)ProviderBindingContext;

    InterlockedIncrement(&Client->Calls);
    *Result = Value;
    return STATUS_SUCCESS;
}

static const SOCKET_PROVIDER_DISPATCH SocketDispatch = { SocketPlug };

_Use_decl_annotations_
static NTSTATUS NTAPI
SocketAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSOCKET_CLIENT Client;
    KIRQL OldIrql;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PSOCKET_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), SOCKET_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    KeAcquireSpinLock(&SocketLock, &OldIrql);
    if (SocketTaken) {
        // Defect: returns with the lock held, at DISPATCH_LEVEL.
        ExFreePoolWithTag(Client, SOCKET_POOL_TAG);
        return STATUS_NOINTERFACE;
    }
    SocketTaken = TRUE;
    KeReleaseSpinLock(&SocketLock, OldIrql);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &SocketDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SocketDetachClient(PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);

    // No call into the client is ever in progress. The context stays: the client may still be inside SocketPlug.
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SocketCleanupBindingContext(PVOID ProviderBindingContext)
{
    KIRQL OldIrql;

    ExFreePoolWithTag(ProviderBindingContext, SOCKET_POOL_TAG);

    KeAcquireSpinLock(&SocketLock, &OldIrql);
    SocketTaken = FALSE;
    KeReleaseSpinLock(&SocketLock, OldIrql);
}

_Use_decl_annotations_
static VOID
SocketUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);
    PAGED_CODE();

    Status = NmrDeregisterProvider(SocketProviderHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(SocketProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SocketUnload;

    KeInitializeSpinLock(&SocketLock);

    return NmrRegisterProvider(&SocketCharacteristics, NULL, &SocketProviderHandle);
}
