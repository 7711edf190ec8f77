// nmrfuzz: module
// summary: Provider whose attach and detach callbacks link its clients in a list that nothing guards.
// provides: 1
// consumes: 0
// expect: bug-check, use-after-free, data-race
// rule: none
// needs: two bindings come or go at the same moment
// interleaving: yes
// hardness: 64 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

#define DUNLIN_POOL_TAG 'lnuD'

typedef struct _DUNLIN_PROVIDER_DISPATCH {
    ULONG(NTAPI *Version)(_In_ PVOID ProviderBindingContext);
} DUNLIN_PROVIDER_DISPATCH;

typedef struct _DUNLIN_CLIENT {
    LIST_ENTRY Link;
    HANDLE BindingHandle;
    PVOID ClientBindingContext;
    CONST VOID *ClientDispatch;
} DUNLIN_CLIENT, *PDUNLIN_CLIENT;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD DunlinUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN DunlinAttachClient;
static NPI_PROVIDER_DETACH_CLIENT_FN DunlinDetachClient;
static NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN DunlinCleanupBindingContext;

static const NPIID DunlinNpiId = { 0x7302a70e, 0x0f23, 0x502b, { 0x93, 0x07, 0xb1, 0x31, 0x2d, 0x33, 0xbf, 0x7e } };
static const NPI_MODULEID DunlinModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x3b75eccd, 0xed2a, 0x5284, { 0x87, 0x28, 0xf6, 0x00, 0x79, 0x78, 0x0e, 0x13 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS DunlinCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    DunlinAttachClient,
    DunlinDetachClient,
    DunlinCleanupBindingContext,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &DunlinNpiId, &DunlinModuleId, 0, NULL }
};

static HANDLE DunlinProviderHandle;
static LIST_ENTRY DunlinClients;
static LONG DunlinClientsKnown;

static ULONG NTAPI
DunlinVersion(_In_ PVOID ProviderBindingContext)
{
    UNREFERENCED_PARAMETER(ProviderBindingContext);
    return 1;
}

static const DUNLIN_PROVIDER_DISPATCH DunlinDispatch = { DunlinVersion };

_Use_decl_annotations_
static NTSTATUS NTAPI
DunlinAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PDUNLIN_CLIENT Client;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Client = (PDUNLIN_CLIENT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Client), DUNLIN_POOL_TAG);
    if (Client == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Client->BindingHandle = NmrBindingHandle;
    Client->ClientBindingContext = ClientBindingContext;
    Client->ClientDispatch = ClientDispatch;

    // Defect: attach and detach callbacks of other bindings may be at the list in this moment.
    InsertTailList(&DunlinClients, &Client->Link);
    InterlockedIncrement(&DunlinClientsKnown);

    *ProviderBindingContext = Client;
    *ProviderDispatch = &DunlinDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
DunlinDetachClient(PVOID ProviderBindingContext)
{
    PDUNLIN_CLIENT Client = (PDUNLIN_CLIENT)ProviderBindingContext;

    RemoveEntryList(&Client->Link);
    InterlockedDecrement(&DunlinClientsKnown);
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
DunlinCleanupBindingContext(PVOID ProviderBindingContext)
{
    ExFreePoolWithTag(ProviderBindingContext, DUNLIN_POOL_TAG);
}

_Use_decl_annotations_
static VOID
DunlinUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    if (NmrDeregisterProvider(DunlinProviderHandle) == STATUS_PENDING) {
        NmrWaitForProviderDeregisterComplete(DunlinProviderHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = DunlinUnload;
    InitializeListHead(&DunlinClients);
    return NmrRegisterProvider(&DunlinCharacteristics, NULL, &DunlinProviderHandle);
}
