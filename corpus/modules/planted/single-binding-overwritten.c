// nmrfuzz: module
// summary: Client with room for one binding that accepts a second provider and loses the handle of the first.
// provides: 0
// consumes: 1
// expect: bad-call, bad-handle, deadlock
// rule: R44, R45, R72
// needs: two providers at once
// interleaving: no
// hardness: 6 schedules; 1000+ run to completion

#include <ntddk.h>
#include <netioddk.h>

typedef struct _KIOSK_CLIENT_DISPATCH {
    VOID(NTAPI *Notify)(_In_ PVOID ClientBindingContext, _In_ ULONG Event);
} KIOSK_CLIENT_DISPATCH;

typedef struct _KIOSK_BINDING {
    HANDLE BindingHandle;
    PVOID ProviderBindingContext;
    CONST VOID *ProviderDispatch;
    LONG Notifications;
} KIOSK_BINDING, *PKIOSK_BINDING;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD KioskUnload;
static NPI_CLIENT_ATTACH_PROVIDER_FN KioskAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN KioskDetachProvider;

static const NPIID KioskNpiId = { 0x46c7879b, 0x8950, 0x533d, { 0x8f, 0xe6, 0xad, 0xdb, 0xca, 0x37, 0x74, 0xb3 } };
static const NPI_MODULEID KioskModuleId = {
    sizeof(NPI_MODULEID),
    MIT_GUID,
    { { 0x93cea6a0, 0xac33, 0x5108, { 0x98, 0x84, 0x3d, 0xc6, 0xa3, 0x89, 0x2f, 0x0c } } }
};

static const NPI_CLIENT_CHARACTERISTICS KioskCharacteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    KioskAttachProvider,
    KioskDetachProvider,
    NULL,
    { 0, sizeof(NPI_REGISTRATION_INSTANCE), &KioskNpiId, &KioskModuleId, 0, NULL }
};

static HANDLE KioskClientHandle;
static KIOSK_BINDING KioskBinding;

static VOID NTAPI
KioskNotify(_In_ PVOID ClientBindingContext, _In_ ULONG Event)
{
    PKIOSK_BINDING Binding = (PKIOSK_BINDING)ClientBindingContext;

    UNREFERENCED_PARAMETER(Event);
    InterlockedIncrement(&Binding->Notifications);
}

static const KIOSK_CLIENT_DISPATCH KioskDispatch = { KioskNotify };

_Use_decl_annotations_
static NTSTATUS NTAPI
KioskAttachProvider(
    HANDLE NmrBindingHandle,
    PVOID ClientContext,
    PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    PKIOSK_BINDING Binding = &KioskBinding;

    UNREFERENCED_PARAMETER(ClientContext);
    UNREFERENCED_PARAMETER(ProviderRegistrationInstance);

    // Defect: a second provider ought to be declined here; its handle replaces the first one's.
    InterlockedExchangePointer(&Binding->BindingHandle, NmrBindingHandle);

    return NmrClientAttachProvider(
        NmrBindingHandle,
        Binding,
        &KioskDispatch,
        &Binding->ProviderBindingContext,
        &Binding->ProviderDispatch);
}

_Use_decl_annotations_
static NTSTATUS NTAPI
KioskDetachProvider(PVOID ClientBindingContext)
{
    PKIOSK_BINDING Binding = (PKIOSK_BINDING)ClientBindingContext;

    // Nothing is in progress, so the detach can be completed on the spot.
    NmrClientDetachProviderComplete(InterlockedCompareExchangePointer(&Binding->BindingHandle, NULL, NULL));
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID
KioskUnload(PDRIVER_OBJECT DriverObject)
{
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DriverObject);

    Status = NmrDeregisterClient(KioskClientHandle);
    if (Status == STATUS_PENDING) {
        NmrWaitForClientDeregisterComplete(KioskClientHandle);
    }
}

_Use_decl_annotations_
NTSTATUS
DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);

    DriverObject->DriverUnload = KioskUnload;
    return NmrRegisterClient(&KioskCharacteristics, NULL, &KioskClientHandle);
}
