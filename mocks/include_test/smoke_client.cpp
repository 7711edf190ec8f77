// smoke_client.cpp - a client of smoke_driver.c in C++: binding classes, in-progress calls counted by hand, a DPC that
// raises IRQL, detach at any IRQL. Compiles; nothing here is run.
// flags: -Wall -Wextra -Werror
extern "C" {
#define INITGUID
#include <ntddk.h>
#include "smoke_npi.h"
}
#include <new>

namespace {

constexpr ULONG kTag = 'lcSN';

class Binding {
 public:
  FORCEINLINE explicit Binding(HANDLE handle) : handle_(handle) { KeInitializeEvent(&idle_, NotificationEvent, FALSE); }

  NTSTATUS Attach();
  NTSTATUS Send(const UCHAR* data, ULONG length);
  NTSTATUS Detach();

 private:
  void Release() {
    if (InterlockedDecrement(&calls_) == 0) {
      KeSetEvent(&idle_, EVENT_INCREMENT, FALSE);
      if (InterlockedExchange8(&pending_, 0) != 0) {
        NmrClientDetachProviderComplete(handle_);
      }
    }
  }

  HANDLE handle_;
  PVOID provider_ = nullptr;
  const SMOKE_PROVIDER_DISPATCH* dispatch_ = nullptr;
  KEVENT idle_;
  volatile LONG calls_ = 1;
  CHAR pending_ = 0;
};

HANDLE Client;
Binding* volatile Current;
KDPC Dpc;

VOID NTAPI Sent(PVOID ClientBindingContext, NTSTATUS Status) {
  DbgPrint("%p %x\n", ClientBindingContext, static_cast<unsigned>(Status));
}
const SMOKE_CLIENT_DISPATCH Dispatch = {1, sizeof(SMOKE_CLIENT_DISPATCH), Sent};

NTSTATUS Binding::Attach() {
  const void* dispatch = nullptr;
  NTSTATUS status = NmrClientAttachProvider(handle_, this, &Dispatch, &provider_, &dispatch);
  dispatch_ = static_cast<const SMOKE_PROVIDER_DISPATCH*>(dispatch);
  return status;
}

NTSTATUS Binding::Send(const UCHAR* data, ULONG length) {
  InterlockedIncrement(&calls_);
  NTSTATUS status = dispatch_->Send(provider_, data, length);
  Release();
  return status;
}

NTSTATUS Binding::Detach() {
  InterlockedExchange8(&pending_, 1);
  Release();
  return STATUS_PENDING;
}

NPI_CLIENT_ATTACH_PROVIDER_FN ClientAttach;
NPI_CLIENT_DETACH_PROVIDER_FN ClientDetach;
NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ClientCleanup;

NTSTATUS ClientAttach(HANDLE NmrBindingHandle, PVOID ClientContext, PNPI_REGISTRATION_INSTANCE Instance) {
  UNREFERENCED_PARAMETER(ClientContext);
  PAGED_CODE();
  if (!IsEqualGUID(*Instance->NpiId, SMOKE_NPIID) || ReadPointerAcquire((PVOID volatile*)&Current) != nullptr) {
    return STATUS_NOINTERFACE;
  }
  PVOID memory = ExAllocatePoolUninitialized(NonPagedPoolNx, sizeof(Binding), kTag);
  if (memory == nullptr) {
    return STATUS_INSUFFICIENT_RESOURCES;
  }
  auto* binding = new (memory) Binding(NmrBindingHandle);
  NTSTATUS status = binding->Attach();
  if (!NT_SUCCESS(status)) {
    ExFreePoolWithTag(memory, kTag);
    return status;
  }
  InterlockedExchangePointer((PVOID volatile*)&Current, binding);
  KeInsertQueueDpc(&Dpc, binding, nullptr);
  return STATUS_SUCCESS;
}

NTSTATUS ClientDetach(PVOID ClientBindingContext) { return static_cast<Binding*>(ClientBindingContext)->Detach(); }

VOID ClientCleanup(PVOID ClientBindingContext) {
  InterlockedCompareExchangePointer((PVOID volatile*)&Current, nullptr, ClientBindingContext);
  ExFreePoolWithTag(ClientBindingContext, kTag);
}

KDEFERRED_ROUTINE ClientDpc;
VOID ClientDpc(PKDPC, PVOID, PVOID SystemArgument1, PVOID) {
  KIRQL old;
  UCHAR data[4] = {};
  KeRaiseIrql(DISPATCH_LEVEL, &old);
  (void)static_cast<Binding*>(SystemArgument1)->Send(data, sizeof(data));
  KeLowerIrql(old);
}

const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ClientAttach,
    ClientDetach,
    ClientCleanup,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &SMOKE_NPIID, nullptr, 0, nullptr},
};

VOID Unload(PDRIVER_OBJECT) {
  NTSTATUS status = NmrDeregisterClient(Client);
  if (status == STATUS_PENDING) {
    status = NmrWaitForClientDeregisterComplete(Client);
  }
  ASSERT(status == STATUS_SUCCESS);
  KeFlushQueuedDpcs();
}

}  // namespace

extern "C" DRIVER_INITIALIZE DriverEntry;
extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING) {
  DriverObject->DriverUnload = Unload;
  KeInitializeDpc(&Dpc, ClientDpc, nullptr);
  return NmrRegisterClient(&Characteristics, nullptr, &Client);
}
