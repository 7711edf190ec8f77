// nmrfuzz: module
// summary: Provider of two NPIs and client of a third, registered from a table; what fails undoes what was registered.
// provides: 2
// consumes: 1
// expect: none
// needs: nothing
// interleaving: no

// All deregistrations are begun before the first is waited for, in Unload and where DriverEntry fails alike. The three
// registrations have characteristics of their own, and share what their callbacks do.

#include <ntddk.h>
#include <netioddk.h>

#define TRIDENT_POOL_TAG 'dirT'

typedef struct _TRIDENT_REGISTRATION {
    PNPI_PROVIDER_CHARACTERISTICS Provider; // One of the two is NULL.
    PNPI_CLIENT_CHARACTERISTICS Client;
    HANDLE Handle;
    BOOLEAN WaitNeeded;
} TRIDENT_REGISTRATION, *PTRIDENT_REGISTRATION;

typedef struct _TRIDENT_BINDING {
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} TRIDENT_BINDING, *PTRIDENT_BINDING;

typedef struct _TRIDENT_DISPATCH {
    LONG(NTAPI *Bindings)(_In_ PVOID BindingContext);
} TRIDENT_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD TridentUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN TridentAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN TridentAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN TridentDetach;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN TridentCleanup;

static const NPIID TridentNpiId1 = { 0x4a71e31d, 0x506a, 0x5092, { 0xba, 0xc3, 0x67, 0xe8, 0xd7, 0xe6, 0x2f, 0xeb } };
static const NPIID TridentNpiId2 = { 0x8d7748e5, 0x217b, 0x5da3, { 0xb0, 0x76, 0x70, 0x7d, 0x91, 0xcc, 0x0e, 0xde } };
static const NPIID TridentNpiId3 = { 0x945bb0c4, 0x81e5, 0x5ad5, { 0x96, 0x59, 0x42, 0xf4, 0x84, 0x8d, 0x9c, 0xfb } };
static const NPI_MODULEID TridentModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xb3285de8, 0xcfde, 0x5639, { 0x8f, 0x57, 0xf7, 0x43, 0x2d, 0x8a, 0xe3, 0xf5 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS TridentLeftCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TridentAttachClient,
    TridentDetach,
    TridentCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TridentNpiId1, &TridentModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS TridentMiddleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    TridentAttachProvider,
    TridentDetach,
    TridentCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TridentNpiId2, &TridentModuleId, 0, NULL }
};

static const NPI_PROVIDER_CHARACTERISTICS TridentRightCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    TridentAttachClient,
    TridentDetach,
    TridentCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &TridentNpiId3, &TridentModuleId, 0, NULL }
};

static TRIDENT_REGISTRATION TridentRegistrations[] = {
    { &TridentLeftCharacteristics, NULL, NULL, FALSE },
    { NULL, &TridentMiddleCharacteristics, NULL, FALSE },
    { &TridentRightCharacteristics, NULL, NULL, FALSE },
};

static LONG TridentBindings;

static LONG NTAPI
TridentCountBindings(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return InterlockedCompareExchange(&TridentBindings, 0, 0);
}

static const TRIDENT_DISPATCH TridentDispatch = { TridentCountBindings };

_Must_inspect_result_
static NTSTATUS
TridentRegister(_Inout_ PTRIDENT_REGISTRATION Registration)
{
    if (Registration->Provider != NULL) {
        return NmrRegisterProvider(Registration->Provider, NULL, &Registration->Handle);
    }
    return NmrRegisterClient(Registration->Client, NULL, &Registration->Handle);
}

static VOID
TridentBeginDeregister(_Inout_ PTRIDENT_REGISTRATION Registration)
{
    NTSTATUS Status;

    if (Registration->Provider != NULL) {
        Status = NmrDeregisterProvider(Registration->Handle);
    } else {
        Status = NmrDeregisterClient(Registration->Handle);
    }
    Registration->WaitNeeded = Status == STATUS_PENDING;
}

static VOID
TridentWait(_In_ PTRIDENT_REGISTRATION Registration)
{
    if (!Registration->WaitNeeded) {
        return;
    }
    if (Registration->Provider != NULL) {
        NmrWaitForProviderDeregisterComplete(Registration->Handle);
    } else {
        NmrWaitForClientDeregisterComplete(Registration->Handle);
    }
}

// Ends the first Count registrations.
static VOID
TridentStop(_In_ ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index++) {
        TridentBeginDeregister(&TridentRegistrations[Index]);
    }
    for (Index = 0; Index < Count; Index++) {
        TridentWait(&TridentRegistrations[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
TridentStart(VOID)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Index;

    for (Index = 0; Index < RTL_NUMBER_OF(TridentRegistrations); Index++) {
        Status = TridentRegister(&TridentRegistrations[Index]);
        if (!NT_SUCCESS(Status)) {
            TridentStop(Index);
            break;
        }
    }
    return Status;
}

_Must_inspect_result_
static PTRIDENT_BINDING
TridentNewBinding(_In_ HANDLE BindingHandle)
{
    PTRIDENT_BINDING Binding;

    Binding = (PTRIDENT_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), TRIDENT_POOL_TAG);
    if (Binding != NULL) {
        Binding->BindingHandle = BindingHandle;
        InterlockedIncrement(&TridentBindings);
    }
    return Binding;
}

static VOID
TridentFreeBinding(_In_ PTRIDENT_BINDING Binding)
{
    InterlockedDecrement(&TridentBindings);
    ExFreePoolWithTag(Binding, TRIDENT_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TridentAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PTRIDENT_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = TridentNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PeerContext = ClientBindingContext;
    Binding->PeerDispatch = ClientDispatch;

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &TridentDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TridentAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PTRIDENT_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = TridentNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &TridentDispatch, &Binding->PeerContext, &Binding->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        TridentFreeBinding(Binding);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
TridentDetach(PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
TridentCleanup(PVOID BindingContext)
{
    TridentFreeBinding((PTRIDENT_BINDING)BindingContext);
}

_Use_decl_annotations_
static VOID
TridentUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    TridentStop(RTL_NUMBER_OF(TridentRegistrations));
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = TridentUnload;
    return TridentStart();
}
