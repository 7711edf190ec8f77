// calls.h - the six callbacks as calls: events at entry and return, the right context, the module that is entered.
//
// Callbacks get their contexts back bit for bit (G7), the other side's own registration instance (G6), attach at
// PASSIVE_LEVEL (G4; Register and NmrClientAttachProvider are called there).
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernel/routine.h"
#include "nmr/records.h"

namespace nmrfuzz::nmr {

// The shapes of the callbacks, with untyped structures; entry_points.cpp asserts that they are the headers' ones.
using ClientAttachFunction = Status (*)(void* binding, void* client_context, const void* provider_instance);
using ProviderAttachFunction = Status (*)(void* binding, void* provider_context, const void* client_instance,
                                          void* client_binding_context, const void* client_dispatch,
                                          void** provider_binding_context, const void** provider_dispatch);
using DetachFunction = Status (*)(void* binding_context);
using CleanupFunction = void (*)(void* binding_context);

inline Callback detach_callback(Role role) {
  return role == Role::kClient ? Callback::kClientDetachProvider : Callback::kProviderDetachClient;
}
inline Callback cleanup_callback(Role role) {
  return role == Role::kClient ? Callback::kClientCleanupBindingContext : Callback::kProviderCleanupBindingContext;
}
inline kernel::Routine routine_of(Callback callback) {
  constexpr auto kFirst = static_cast<unsigned>(kernel::Routine::ClientAttachProvider);
  return static_cast<kernel::Routine>(kFirst + static_cast<unsigned>(callback));
}

// Enters `callback` of the registration's module. `function` makes the call. The scheduling points at entry and return
// are the caller's: in front of the transition that allows the call, and behind the one that its status leads to.
// All inlined: a callback in which the stack was switched returns through mispredicted branches, so there is one.
// Nothing may happen between a callback and its transitions, so that a late offer is none (G9) and a completion after
// STATUS_SUCCESS is seen (R70).
template <class Port, class Function>
[[gnu::always_inline]] inline Status call_callback(Port& port, const Binding& binding, const Registration& callee,
                                                   Callback callback, const void* context, Function function) {
  const kernel::Routine routine = routine_of(callback);
  port.emit(trace::EventKind::kCallbackEnter, routine, binding.number, 0, static_cast<std::uint64_t>(callback),
            port.number_of(context), callee.module);
  std::uint64_t outputs = 0;
  const Status status = port.call(callee.module, routine, [&] { return function(outputs); });
  port.emit(trace::EventKind::kCallbackExit, routine, binding.number, status, static_cast<std::uint64_t>(callback),
            outputs, callee.module);
  return status;
}

template <class Port>
[[gnu::always_inline]] inline Status call_client_attach(Port& port, Binding& binding, const void* provider_instance) {
  const Registration& client = binding.registration(Role::kClient);
  return call_callback(port, binding, client, Callback::kClientAttachProvider, client.context, [&](std::uint64_t&) {
    const auto attach = reinterpret_cast<ClientAttachFunction>(client.characteristics.callbacks.attach);
    return attach(make_handle(HandleKind::kBinding, binding.number), client.context, provider_instance);
  });
}

// The outputs go straight into the binding, which holds `poison` in both before the call.
template <class Port>
[[gnu::always_inline]] inline Status call_provider_attach(Port& port, Binding& binding, const void* poison) {
  const Registration& client = binding.registration(Role::kClient);
  const Registration& provider = binding.registration(Role::kProvider);
  Side& outputs_of = binding.side(Role::kProvider);
  const auto ask = [&](std::uint64_t& outputs) {
    const auto attach = reinterpret_cast<ProviderAttachFunction>(provider.characteristics.callbacks.attach);
    const Side& client_side = binding.side(Role::kClient);
    const Status status =
        attach(make_handle(HandleKind::kBinding, binding.number), provider.context, client.characteristics.instance,
               client_side.context, client_side.dispatch, &outputs_of.context, &outputs_of.dispatch);
    outputs = (outputs_of.context != poison ? 1U : 0U) | (outputs_of.dispatch != poison ? 2U : 0U);
    return status;
  };
  return call_callback(port, binding, provider, Callback::kProviderAttachClient, provider.context, ask);
}

template <class Port>
[[gnu::always_inline]] inline Status call_detach(Port& port, const Binding& binding, Role role, void* context) {
  const Registration& callee = *binding.sides[index_of(role)].registration;
  return call_callback(port, binding, callee, detach_callback(role), context, [&](std::uint64_t&) {
    return reinterpret_cast<DetachFunction>(callee.characteristics.callbacks.detach)(context);
  });
}

template <class Port>
[[gnu::always_inline]] inline void call_cleanup(Port& port, const Binding& binding, Role role, void* context) {
  const Registration& callee = *binding.sides[index_of(role)].registration;
  call_callback(port, binding, callee, cleanup_callback(role), context, [&](std::uint64_t&) {
    reinterpret_cast<CleanupFunction>(callee.characteristics.callbacks.cleanup)(context);
    return kernel::kStatusSuccess;
  });
}

}  // namespace nmrfuzz::nmr
