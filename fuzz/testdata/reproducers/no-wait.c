// The module of the reproducers in this folder: its unload does not wait for the deregistration that it began. Their
// trace hashes depend on it, so it stays as it is.
#include <netioddk.h>
#include <ntddk.h>

typedef struct _LINK {
  HANDLE Binding;
  LONG Calls;
} LINK;

static NPIID Npi = {0x6b1f0d3c, 0x51c2, 0x4e0b, {0x9a, 0x11, 0x20, 0x63, 0x0c, 0x7e, 0x45, 0xd8}};
static NPI_MODULEID Id = {
    sizeof(NPI_MODULEID), MIT_GUID, {{0x2f0c4a77, 0x8d15, 0x4c39, {0xb2, 0x6e, 0x5a, 0x90, 0x13, 0xfd, 0x08, 0x71}}}};
static HANDLE Registration;
static LONG volatile Links;
static ULONG Attached;

static NTSTATUS NTAPI Attach(HANDLE Binding, PVOID Context, PNPI_REGISTRATION_INSTANCE Client, PVOID ClientBinding,
                             CONST VOID* ClientDispatch, PVOID* ProviderBinding, CONST VOID** ProviderDispatch) {
  LINK* Link = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof *Link, 'kniL');
  if (Link == NULL) {
    return STATUS_NOINTERFACE;
  }
  Link->Binding = Binding;
  Attached++;
  InterlockedIncrement(&Links);
  *ProviderBinding = Link;
  *ProviderDispatch = &Npi;
  return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Detach(PVOID Context) {
  InterlockedDecrement(&Links);
  return STATUS_SUCCESS;
}

static VOID NTAPI Cleanup(PVOID Context) { ExFreePoolWithTag(Context, 'kniL'); }

static NPI_PROVIDER_CHARACTERISTICS Provider = {0,       sizeof(NPI_PROVIDER_CHARACTERISTICS),
                                                Attach,  Detach,
                                                Cleanup, {0, sizeof(NPI_REGISTRATION_INSTANCE), &Npi, &Id, 0, NULL}};

static VOID Unload(PDRIVER_OBJECT Driver) {
  if (NmrDeregisterProvider(Registration) == STATUS_PENDING && Links == 0) {
    NmrWaitForProviderDeregisterComplete(Registration);
  }
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
  Driver->DriverUnload = Unload;
  return NmrRegisterProvider(&Provider, NULL, &Registration);
}
