// nmrfuzz: module
// summary: Provider of two NPIs and client of one whose undoing after a failure leaves out the first registration.
// provides: 2
// consumes: 1
// expect: unload-registered
// rule: R24
// needs: second or third registration fails
// interleaving: no
// hardness: 58 schedules; 1000+ run to completion

// All deregistrations are begun before the first is waited for, in Unload and where DriverEntry fails alike. The three
// registrations have characteristics of their own, and share what their callbacks do.

#include <ntddk.h>
#include <netioddk.h>

#define HARPOON_POOL_TAG 'praH'

typedef struct _HARPOON_REGISTRATION {
    PNPI_PROVIDER_CHARACTERISTICS Provider; // One of the two is NULL.
    PNPI_CLIENT_CHARACTERISTICS Client;
    HANDLE Handle;
    BOOLEAN WaitNeeded;
} HARPOON_REGISTRATION, *PHARPOON_REGISTRATION;

typedef struct _HARPOON_BINDING {
    HANDLE BindingHandle;
    PVOID PeerContext;
    CONST VOID *PeerDispatch;
} HARPOON_BINDING, *PHARPOON_BINDING;

typedef struct _HARPOON_DISPATCH {
    LONG(NTAPI *Bindings)(_In_ PVOID BindingContext);
} HARPOON_DISPATCH;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD HarpoonUnload;
static NPI_PROVIDER_ATTACH_CLIENT_FN HarpoonAttachClient;
static NPI_CLIENT_ATTACH_PROVIDER_FN HarpoonAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN HarpoonDetach;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN HarpoonCleanup;

static const NPIID HarpoonNpiId1 = { 0x6f024ae6, 0xaf06, 0x5641, { 0xa3, 0x8e, 0x35, 0xd3, 0x33, 0x95, 0x5e, 0x0e } };
static const NPIID HarpoonNpiId2 = { 0xa4ed0816, 0xed56, 0x563f, { 0xbc, 0xc4, 0xcf, 0x84, 0xbf, 0x20, 0xa0, 0x47 } };
static const NPIID HarpoonNpiId3 = { 0xbde0523d, 0xaeee, 0x50a6, { 0xbf, 0xf6, 0x07, 0xc5, 0x18, 0xb8, 0x79, 0x3e } };
static const NPI_MODULEID HarpoonModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x67379f6d, 0xc22d, 0x597f, { 0x9a, 0x07, 0xe6, 0x26, 0x0b, 0x87, 0x7b, 0xa3 } } }
};

static const NPI_PROVIDER_CHARACTERISTICS HarpoonLeftCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    HarpoonAttachClient,
    HarpoonDetach,
    HarpoonCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HarpoonNpiId1, &HarpoonModuleId, 0, NULL }
};

static const NPI_CLIENT_CHARACTERISTICS HarpoonMiddleCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    HarpoonAttachProvider,
    HarpoonDetach,
    HarpoonCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HarpoonNpiId2, &HarpoonModuleId, 0, NULL }
};

static const NPI_PROVIDER_CHARACTERISTICS HarpoonRightCharacteristics = {
    0,
    sizeof(NPI_PROVIDER_CHARACTERISTICS),
    HarpoonAttachClient,
    HarpoonDetach,
    HarpoonCleanup,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &HarpoonNpiId3, &HarpoonModuleId, 0, NULL }
};

static HARPOON_REGISTRATION HarpoonRegistrations[] = {
    { &HarpoonLeftCharacteristics, NULL, NULL, FALSE },
    { NULL, &HarpoonMiddleCharacteristics, NULL, FALSE },
    { &HarpoonRightCharacteristics, NULL, NULL, FALSE },
};

static LONG HarpoonBindings;

static LONG NTAPI
HarpoonCountBindings(_In_ PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);
    return InterlockedCompareExchange(&HarpoonBindings, 0, 0);
}

static const HARPOON_DISPATCH HarpoonDispatch = { HarpoonCountBindings };

_Must_inspect_result_
static NTSTATUS
HarpoonRegister(_Inout_ PHARPOON_REGISTRATION Registration)
{
    if (Registration->Provider != NULL) {
        return NmrRegisterProvider(Registration->Provider, NULL, &Registration->Handle);
    }
    return NmrRegisterClient(Registration->Client, NULL, &Registration->Handle);
}

static VOID
HarpoonBeginDeregister(_Inout_ PHARPOON_REGISTRATION Registration)
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
HarpoonWait(_In_ PHARPOON_REGISTRATION Registration)
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
HarpoonStop(_In_ ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index++) {
        HarpoonBeginDeregister(&HarpoonRegistrations[Index]);
    }
    for (Index = 0; Index < Count; Index++) {
        HarpoonWait(&HarpoonRegistrations[Index]);
    }
}

_Must_inspect_result_
static NTSTATUS
HarpoonStart(VOID)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Index;

    for (Index = 0; Index < RTL_NUMBER_OF(HarpoonRegistrations); Index++) {
        Status = HarpoonRegister(&HarpoonRegistrations[Index]);
        if (!NT_SUCCESS(Status)) {
            break;
        }
    }

    if (!NT_SUCCESS(Status)) {
        // Defect: the registration with index 0 is left out.
        while (Index-- > 1) {
            HarpoonBeginDeregister(&HarpoonRegistrations[Index]);
            HarpoonWait(&HarpoonRegistrations[Index]);
        }
    }
    return Status;
}

_Must_inspect_result_
static PHARPOON_BINDING
HarpoonNewBinding(_In_ HANDLE BindingHandle)
{
    PHARPOON_BINDING Binding;

    Binding = (PHARPOON_BINDING)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), HARPOON_POOL_TAG);
    if (Binding != NULL) {
        Binding->BindingHandle = BindingHandle;
        InterlockedIncrement(&HarpoonBindings);
    }
    return Binding;
}

static VOID
HarpoonFreeBinding(_In_ PHARPOON_BINDING Binding)
{
    InterlockedDecrement(&HarpoonBindings);
    ExFreePoolWithTag(Binding, HARPOON_POOL_TAG);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HarpoonAttachClient(
    HANDLE NmrBindingHandle,
    PVOID ProviderContext,
    PNPI_REGISTRATION_INSTANCE ClientRegistrationInstance,
    PVOID ClientBindingContext,
    CONST VOID *ClientDispatch,
    PVOID *ProviderBindingContext,
    CONST VOID **ProviderDispatch)
{
    PHARPOON_BINDING Binding;

    UNREFERENCED_PARAMETER(ProviderContext);
    UNREFERENCED_PARAMETER(ClientRegistrationInstance);

    Binding = HarpoonNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Binding->PeerContext = ClientBindingContext;
    Binding->PeerDispatch = ClientDispatch;

    *ProviderBindingContext = Binding;
    *ProviderDispatch = &HarpoonDispatch;
    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HarpoonAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PHARPOON_BINDING Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    Binding = HarpoonNewBinding(NmrBindingHandle);
    if (Binding == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }

    Status = NmrClientAttachProvider(
        NmrBindingHandle, Binding, &HarpoonDispatch, &Binding->PeerContext, &Binding->PeerDispatch);
    if (Status != STATUS_SUCCESS) {
        HarpoonFreeBinding(Binding);
    }

    return Status;
}

_Use_decl_annotations_
static NTSTATUS NTAPI
HarpoonDetach(PVOID BindingContext)
{
    UNREFERENCED_PARAMETER(BindingContext);

    return STATUS_SUCCESS;
}

_Use_decl_annotations_
static VOID NTAPI
HarpoonCleanup(PVOID BindingContext)
{
    HarpoonFreeBinding((PHARPOON_BINDING)BindingContext);
}

_Use_decl_annotations_
static VOID
HarpoonUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);

    HarpoonStop(RTL_NUMBER_OF(HarpoonRegistrations));
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = HarpoonUnload;
    return HarpoonStart();
}
