// entry_points.cpp - the nine functions of netioddk.h: they check IRQL and pointers and hand over to the registrar.
//
// Sources: the reference pages of the nine functions.
#include <ntddk.h>

#include <netioddk.h>

#include "nmr/calls.h"
#include "nmr/fiber_port.h"
#include "nmr/register_checks.h"

namespace nmrfuzz::nmr {
namespace {

using kernel::Kernel;

static_assert(std::is_same_v<NTSTATUS, Status>);

// The part of both Register functions that comes behind reading the structure.
NTSTATUS register_checked(Kernel& kernel, Routine routine, Role role, Given given, void* context, PHANDLE handle) {
  Characteristics read;
  if (!read_characteristics(kernel, routine, given, read) || !kernel.probe(routine, handle, sizeof *handle)) {
    return kernel::kStatusInvalidParameter;
  }
  read.variable = is_on_this_stack(kernel, handle) ? nullptr : handle;
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
  const Given given = {&from, from.Version, from.Length, sizeof from, &from.ProviderRegistrationInstance, callbacks};
  return register_checked(kernel, kRoutine, Role::kProvider, given, ProviderContext, NmrProviderHandle);
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
  const Given given = {&from, from.Version, from.Length, sizeof from, &from.ClientRegistrationInstance, callbacks};
  return register_checked(kernel, kRoutine, Role::kClient, given, ClientContext, NmrClientHandle);
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
