// nmrfuzz: module
// summary: Provider of two NPIs and client of a third whose Unload stops waiting as soon as no binding is left.
// provides: 2
// consumes: 1
// expect: unload-pending
// rule: R95, R91
// needs: no binding is left before the last wait
// interleaving: no
// hardness: median 1 schedule (default hunt)

// All deregistrations are begun before the first is waited for, in Unload and where DriverEntry fails alike. The three
// registrations have characteristics of their own, and share what their callbacks do.

#include <ntddk.h>
#include <netioddk.h>

#define SPINNAKER_POOL_TAG 'nipS'

typedef struct _SPINNAKER_REGISTRATION {
    PNPI_PROVIDER_CHARACTERISTICS Provider; // One of the two is NULL.
    PNPI_CLIENT_CHARACTERISTICS Client;
    HANDLE Handle;
    BOOLEAN WaitNeeded;
} SPINNAKER_REGISTRATION, *PSPINNAKER_REGISTRATION;

typedef struct _SPINNAKER_BINDING {
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} SPINNAKER_BINDING, *PSPINNAKER_BINDING;

typedef struct _SPINNAKER_DISPATCH {
    LONG(NTAPI *Bindings)(_In_ PVOID BindingContext);
} SPINNAKER_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD SpinnakerUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN SpinnakerAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN SpinnakerAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN SpinnakerDetach;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN SpinnakerCleanup;

static const NPIID SpinnakerNpiId1 = { 0x99e7a3ce, 0xdc54, 0x5497, { 0xb1, 0xd2, 0x34, 0x1f, 0xf6, 0x09, 0x99, 0xd7 } };
static const NPIID SpinnakerNpiId2 = { 0x5e5546e6, 0x5b79, 0x521a, { 0xa3, 0xb2, 0xae, 0xda, 0x88, 0x89, 0xb6, 0xb0 } };
static const NPIID SpinnakerNpiId3 = { 0x92c500ac, 0x5877, 0x580a, { 0xb7, 0xc8, 0xf6, 0xa0, 0x3a, 0x7b, 0x8f, 0xcb } };
static const NPI_MODULEID SpinnakerModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x1c51eec7, 0xf215, 0x5e8b, { 0x87, 0x7e, 0x09, 0xbe, 0x2c, 0x08, 0x6b, 0xd3 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS SpinnakerLeftCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SpinnakerAttachClient,
    SpinnakerDetach,
    SpinnakerCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SpinnakerNpiId1, &SpinnakerModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS SpinnakerMiddleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    SpinnakerAttachProvider,
    SpinnakerDetach,
    SpinnakerCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SpinnakerNpiId2, &SpinnakerModuleId, 0, NULL }
};

static const NPI_PROVIDER_CHARACTERISTICS SpinnakerRightCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    SpinnakerAttachClient,
    SpinnakerDetach,
    SpinnakerCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &SpinnakerNpiId3, &SpinnakerModuleId, 0, NULL }
};

static SPINNAKER_REGISTRATION SpinnakerRegistrations[] = {
    { &SpinnakerLeftCharacteristics, NULL, NULL, FALSE },
    { NULL, &SpinnakerMiddleCharacteristics, NULL, FALSE },
    { &SpinnakerRightCharacteristics, NULL, NULL, FALSE },
};

static LONG SpinnakerBindings;

static LONG NTAPI
SpinnakerCountBindings(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return InterlockedCompareExchange(&SpinnakerBindings, 0, 0);
}

static const SPINNAKER_DISPATCH SpinnakerDispatch = { SpinnakerCountBindings };

_Must_inspect_result_
static NTSTATUS
SpinnakerRegister(_Inout_ PSPINNAKER_REGISTRATION Registration)
{
    if (Registration->Provider != NULL) {
        return NmrRegisterProvider(Registration->Provider, NULL, &Registration->Handle);
    }
    return NmrRegisterClient(Registration->Client, NULL, &Registration->Handle);
}

static VOID
SpinnakerBeginDeregister(_Inout_ PSPINNAKER_REGISTRATION Registration)
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
SpinnakerWait(_In_ PSPINNAKER_REGISTRATION Registration)
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
SpinnakerStop(_In_ ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index++) {
        SpinnakerBeginDeregister(&SpinnakerRegistrations[Index]);
    }
    // Defect: the count is that of all registrations; when it is zero, the deregistrations need not be complete.
    for (Index = 0; Index < Count; Index++) {
        SpinnakerWait(&SpinnakerRegistrations[Index]);
        if (InterlockedCompareExchange(&SpinnakerBindings, 0, 0) == 0) {
            break;
        }
    }
}

_Must_inspect_result_
static NTSTATUS
SpinnakerStart(VOID)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Index;

    for (Index = 0; Index < RTL_NUMBER_OF(SpinnakerRegistrations); Index++) {
        Status = SpinnakerRegister(&SpinnakerRegistrations[Index]);
        if (!NT_SUCCESS(Status)) {
            SpinnakerStop(Index);
            break;
        }
    }
    return Status;
}

_Must_inspect_result_
static PSPINNAKER_BINDING
SpinnakerNewBinding(_In_ HANDLE BindingHandle)
{
    PSPINNAKER_BINDING Binding;

    Binding = (PSPINNAKER_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), SPINNAKER_POOL_TAG);
    if (Binding != NULL) {
        Binding->BindingHandle = BindingHandle;
        InterlockedIncrement(&SpinnakerBindings);
    }
    return Binding;
}

static VOID
SpinnakerFreeBinding(_In_ PSPINNAKER_BINDING Binding)
{
    InterlockedDecrement(&SpinnakerBindings);
    ExFreePoolWithTag(Binding, SPINNAKER_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpinnakerAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PSPINNAKER_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = SpinnakerNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PeerContext = ClientBindingContext;
    Binding->PeerDispatch = ClientDispatch;

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &SpinnakerDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpinnakerAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PSPINNAKER_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = SpinnakerNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &SpinnakerDispatch, &Binding->PeerContext, &Binding->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        SpinnakerFreeBinding(Binding);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
SpinnakerDetach(PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
SpinnakerCleanup(PVOID BindingContext)
{
    SpinnakerFreeBinding((PSPINNAKER_BINDING)BindingContext);
}

_Use_decl_annotations_
static VOID
SpinnakerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    SpinnakerStop(RTL_NUMBER_OF(SpinnakerRegistrations));
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = SpinnakerUnload;
    return SpinnakerStart();
}
