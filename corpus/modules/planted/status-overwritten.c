// nmrfuzz: module
// summary: Provider of two NPIs and client of one whose DriverEntry looks at the status of its last registration only.
// provides: 2
// consumes: 1
// expect: bad-handle
// rule: R21, R27
// needs: a registration other than the last one fails
// interleaving: no
// hardness: median 11 schedules (default hunt)

// All deregistrations are begun before the first is waited for, in Unload and where DriverEntry fails alike. The three
// registrations have characteristics of their own, and share what their callbacks do.

#include <ntddk.h>
#include <netioddk.h>

#define BALLISTA_POOL_TAG 'llaB'

typedef struct _BALLISTA_REGISTRATION {
    PNPI_PROVIDER_CHARACTERISTICS Provider; // One of the two is NULL.
    PNPI_CLIENT_CHARACTERISTICS Client;
    HANDLE Handle;
    BOOLEAN WaitNeeded;
} BALLISTA_REGISTRATION, *PBALLISTA_REGISTRATION;

typedef struct _BALLISTA_BINDING {
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} BALLISTA_BINDING, *PBALLISTA_BINDING;

typedef struct _BALLISTA_DISPATCH {
    LONG(NTAPI *Bindings)(_In_ PVOID BindingContext);
} BALLISTA_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD BallistaUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN BallistaAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN BallistaAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN BallistaDetach;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN BallistaCleanup;

static const NPIID BallistaNpiId1 = { 0x2f3ffad3, 0x4e4f, 0x50b9, { 0xa1, 0x74, 0x60, 0xbb, 0x9b, 0x32, 0x9e, 0x12 } };
static const NPIID BallistaNpiId2 = { 0x1f914aca, 0xa182, 0x50aa, { 0xb6, 0x73, 0x39, 0x6d, 0x35, 0xa5, 0xac, 0xf5 } };
static const NPIID BallistaNpiId3 = { 0x1187754d, 0xf2d7, 0x570c, { 0x89, 0xac, 0x62, 0xc3, 0x24, 0x59, 0x51, 0xe3 } };
static const NPI_MODULEID BallistaModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0xa34f208b, 0xe0c7, 0x5407, { 0xa9, 0xd1, 0x00, 0x82, 0xed, 0xae, 0x9a, 0x75 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS BallistaLeftCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BallistaAttachClient,
    BallistaDetach,
    BallistaCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BallistaNpiId1, &BallistaModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS BallistaMiddleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    BallistaAttachProvider,
    BallistaDetach,
    BallistaCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BallistaNpiId2, &BallistaModuleId, 0, NULL }
};

static const NPI_PROVIDER_CHARACTERISTICS BallistaRightCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    BallistaAttachClient,
    BallistaDetach,
    BallistaCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &BallistaNpiId3, &BallistaModuleId, 0, NULL }
};

static BALLISTA_REGISTRATION BallistaRegistrations[] = {
    { &BallistaLeftCharacteristics, NULL, NULL, FALSE },
    { NULL, &BallistaMiddleCharacteristics, NULL, FALSE },
    { &BallistaRightCharacteristics, NULL, NULL, FALSE },
};

static LONG BallistaBindings;

static LONG NTAPI
BallistaCountBindings(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return InterlockedCompareExchange(&BallistaBindings, 0, 0);
}

static const BALLISTA_DISPATCH BallistaDispatch = { BallistaCountBindings };

_Must_inspect_result_
static NTSTATUS
BallistaRegister(_Inout_ PBALLISTA_REGISTRATION Registration)
{
    if (Registration->Provider != NULL) {
        return NmrRegisterProvider(Registration->Provider, NULL, &Registration->Handle);
    }
    return NmrRegisterClient(Registration->Client, NULL, &Registration->Handle);
}

static VOID
BallistaBeginDeregister(_Inout_ PBALLISTA_REGISTRATION Registration)
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
BallistaWait(_In_ PBALLISTA_REGISTRATION Registration)
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
BallistaStop(_In_ ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index++) {
        BallistaBeginDeregister(&BallistaRegistrations[Index]);
    }
    for (Index = 0; Index < Count; Index++) {
        BallistaWait(&BallistaRegistrations[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
BallistaStart(VOID)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Index;

    for (Index = 0; Index < RTL_NUMBER_OF(BallistaRegistrations); Index++) {
        Status = BallistaRegister(&BallistaRegistrations[Index]);
    }

    // Defect: an earlier failure has been overwritten by a later success.
    if (!NT_SUCCESS(Status)) {
        BallistaStop(RTL_NUMBER_OF(BallistaRegistrations) - 1);
    }
    return Status;
}

_Must_inspect_result_
static PBALLISTA_BINDING
BallistaNewBinding(_In_ HANDLE BindingHandle)
{
    PBALLISTA_BINDING Binding;

    Binding = (PBALLISTA_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), BALLISTA_POOL_TAG);
    if (Binding != NULL) {
        Binding->BindingHandle = BindingHandle;
        InterlockedIncrement(&BallistaBindings);
    }
    return Binding;
}

static VOID
BallistaFreeBinding(_In_ PBALLISTA_BINDING Binding)
{
    InterlockedDecrement(&BallistaBindings);
    ExFreePoolWithTag(Binding, BALLISTA_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PBALLISTA_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = BallistaNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PeerContext = ClientBindingContext;
    Binding->PeerDispatch = ClientDispatch;

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &BallistaDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PBALLISTA_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = BallistaNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &BallistaDispatch, &Binding->PeerContext, &Binding->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        BallistaFreeBinding(Binding);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
BallistaDetach(PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
BallistaCleanup(PVOID BindingContext)
{
    BallistaFreeBinding((PBALLISTA_BINDING)BindingContext);
}

_Use_decl_annotations_
static VOID
BallistaUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    BallistaStop(RTL_NUMBER_OF(BallistaRegistrations));
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = BallistaUnload;
    return BallistaStart();
}
