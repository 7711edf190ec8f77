// entry_points.cpp - the nine functions of netioddk.h: they check IRQL and pointers and hand over to the registrar.
//
// Sources: the reference pages of the nine functions. The registrar reads characteristics in place, as the lifetimes
// that the pages demand imply; only the addresses of callbacks and of the registration instance are kept.
#include <ntddk.h>

#include <netioddk.h>

#include <cstring>

#include "nmr/calls.h"
#include "nmr/fiber_port.h"

namespace nmrfuzz::nmr {
namespace {

using kernel::Kernel;
using kernel::Outcome;

static_assert(std::is_same_v<NTSTATUS, Status>);

// Reads what both kinds of characteristics have in common. False after a breach.
bool read_instance(Kernel& kernel, Routine routine, const NPI_REGISTRATION_INSTANCE& instance, const void* structure,
                   Callbacks callbacks, Characteristics& read) {
  if (callbacks.attach == nullptr || callbacks.detach == nullptr) {
    kernel.breach(routine, Outcome::kNullArgument);
    return false;
  }
  if (!kernel.probe(routine, instance.NpiId, sizeof *instance.NpiId)) {
    return false;
  }
  read.structure = structure;
  read.instance = &instance;
  read.npi_id = instance.NpiId;
  read.module_id = instance.ModuleId;
  std::memcpy(read.npi.data(), instance.NpiId, sizeof(GUID));
  read.callbacks = callbacks;
  return true;
}

// As a registrar that checks them would see them (A21). Modules use the instance's Version for their own purposes.
template <class Structure>
bool has_right_sizes(const Structure& structure, const NPI_REGISTRATION_INSTANCE& instance) {
  return structure.Version == 0 && structure.Length == sizeof structure && instance.Size == sizeof instance;
}

// The part of both Register functions that comes behind reading the structure.
NTSTATUS register_checked(Kernel& kernel, Routine routine, Role role, const Characteristics& read, void* context,
                          PHANDLE handle) {
  if (!kernel.probe(routine, handle, sizeof *handle)) {
    return kernel::kStatusInvalidParameter;
  }
  return current_registrar().register_module(role, read, context, handle);
}

Kernel& checked_kernel(Routine routine) {
  Kernel& kernel = kernel::current_kernel();
  kernel.check_irql(routine);
  return kernel;
}

}  // namespace
}  // namespace nmrfuzz::nmr

using namespace nmrfuzz::nmr;  // NOLINT: the C entry points below

extern "C" {

NTSTATUS NmrRegisterProvider(PNPI_PROVIDER_CHARACTERISTICS ProviderCharacteristics, PVOID ProviderContext,
                             PHANDLE NmrProviderHandle) {
  constexpr Routine kRoutine = Routine::NmrRegisterProvider;
  Kernel& kernel = checked_kernel(kRoutine);
  if (!kernel.probe(kRoutine, ProviderCharacteristics, sizeof *ProviderCharacteristics)) {
    return nmrfuzz::kernel::kStatusInvalidParameter;
  }
  const NPI_PROVIDER_CHARACTERISTICS& from = *ProviderCharacteristics;
  const Callbacks callbacks = {reinterpret_cast<void*>(from.ProviderAttachClient),
                               reinterpret_cast<void*>(from.ProviderDetachClient),
                               reinterpret_cast<void*>(from.ProviderCleanupBindingContext)};
  Characteristics read;
  read.sizes_are_right = has_right_sizes(from, from.ProviderRegistrationInstance);
  if (!read_instance(kernel, kRoutine, from.ProviderRegistrationInstance, &from, callbacks, read)) {
    return nmrfuzz::kernel::kStatusInvalidParameter;
  }
  return register_checked(kernel, kRoutine, Role::kProvider, read, ProviderContext, NmrProviderHandle);
}

NTSTATUS NmrRegisterClient(PNPI_CLIENT_CHARACTERISTICS ClientCharacteristics, PVOID ClientContext,
                           PHANDLE NmrClientHandle) {
  constexpr Routine kRoutine = Routine::NmrRegisterClient;
  Kernel& kernel = checked_kernel(kRoutine);
  if (!kernel.probe(kRoutine, ClientCharacteristics, sizeof *ClientCharacteristics)) {
    return nmrfuzz::kernel::kStatusInvalidParameter;
  }
  const NPI_CLIENT_CHARACTERISTICS& from = *ClientCharacteristics;
  const Callbacks callbacks = {reinterpret_cast<void*>(from.ClientAttachProvider),
                               reinterpret_cast<void*>(from.ClientDetachProvider),
                               reinterpret_cast<void*>(from.ClientCleanupBindingContext)};
  Characteristics read;
  read.sizes_are_right = has_right_sizes(from, from.ClientRegistrationInstance);
  if (!read_instance(kernel, kRoutine, from.ClientRegistrationInstance, &from, callbacks, read)) {
    return nmrfuzz::kernel::kStatusInvalidParameter;
  }
  return register_checked(kernel, kRoutine, Role::kClient, read, ClientContext, NmrClientHandle);
}

NTSTATUS NmrDeregisterProvider(HANDLE NmrProviderHandle) {
  checked_kernel(Routine::NmrDeregisterProvider);
  return current_registrar().deregister(Role::kProvider, NmrProviderHandle);
}

NTSTATUS NmrDeregisterClient(HANDLE NmrClientHandle) {
  checked_kernel(Routine::NmrDeregisterClient);
  return current_registrar().deregister(Role::kClient, NmrClientHandle);
}

NTSTATUS NmrWaitForProviderDeregisterComplete(HANDLE NmrProviderHandle) {
  checked_kernel(Routine::NmrWaitForProviderDeregisterComplete);
  return current_registrar().wait_for_deregister(Role::kProvider, NmrProviderHandle);
}

NTSTATUS NmrWaitForClientDeregisterComplete(HANDLE NmrClientHandle) {
  checked_kernel(Routine::NmrWaitForClientDeregisterComplete);
  return current_registrar().wait_for_deregister(Role::kClient, NmrClientHandle);
}

NTSTATUS NmrClientAttachProvider(HANDLE NmrBindingHandle, PVOID ClientBindingContext, const void* ClientDispatch,
                                 PVOID* ProviderBindingContext, const void** ProviderDispatch) {
  constexpr Routine kRoutine = Routine::NmrClientAttachProvider;
  Kernel& kernel = checked_kernel(kRoutine);
  if (!kernel.probe(kRoutine, ProviderBindingContext, sizeof *ProviderBindingContext) ||
      !kernel.probe(kRoutine, ProviderDispatch, sizeof *ProviderDispatch)) {
    return nmrfuzz::kernel::kStatusInvalidParameter;
  }
  return current_registrar().client_attach_provider(NmrBindingHandle, ClientBindingContext, ClientDispatch,
                                                    ProviderBindingContext, ProviderDispatch);
}

VOID NmrClientDetachProviderComplete(HANDLE NmrBindingHandle) {
  checked_kernel(Routine::NmrClientDetachProviderComplete);
  current_registrar().detach_complete(Role::kClient, NmrBindingHandle);
}

VOID NmrProviderDetachClientComplete(HANDLE NmrBindingHandle) {
  checked_kernel(Routine::NmrProviderDetachClientComplete);
  current_registrar().detach_complete(Role::kProvider, NmrBindingHandle);
}

}  // extern "C"
