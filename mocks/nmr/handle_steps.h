// handle_steps.h - what a handle that a module gives to a call names. Part of registrar.h.
//
// Source: the rules about handles, R27, R33, R72, R73, R101, R102. Handles stay recognisable after the death of what
// they named (G5).
#pragma once

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// Whether `handle` names a record of `kind`, alive or not: kValid; else kNull, kUnknown or kWrongKind. Under the lock,
// as are all.
template <class Port>
HandleState Registrar<Port>::look_up(const void* handle, HandleKind kind) const {
  const HandleKind found = kind_of_handle(handle);
  const ObjectNumber number = number_of_handle(handle);
  if (handle == nullptr) {
    return HandleState::kNull;
  }
  const std::size_t records = found == HandleKind::kBinding ? bindings_.size() : registrations_.size();
  if (found == HandleKind::kNone || number == 0 || number > records) {
    return HandleState::kUnknown;
  }
  return found == kind ? HandleState::kValid : HandleState::kWrongKind;
}

// The registration that the handle names; nullptr and the reason if it names none that the caller may use in `role`.
template <class Port>
Registration* Registrar<Port>::resolve_registration(Role role, void* handle, HandleState& state) {
  state = look_up(handle, handle_kind(role));
  if (state != HandleState::kValid) {
    return nullptr;
  }
  Registration& registration = registrations_[number_of_handle(handle) - 1];
  if (registration.role != role) {
    state = HandleState::kWrongKind;
  } else if (registration.state == RegistrationState::kNone) {
    state = HandleState::kUnknown;  // its Register failed: the handle was never handed out
  } else if (registration.module != port_.module() && !is_mutant(Mutant::kTakesForeignHandle)) {
    state = HandleState::kForeign;
  } else {
    const bool closed = registration.state == RegistrationState::kClosed;
    state = closed && !is_mutant(Mutant::kTakesClosedHandle) ? HandleState::kStale : HandleState::kValid;
    return &registration;
  }
  return nullptr;
}

// The binding that the handle names. The caller has to be the side that the routine is for (R72, R73).
template <class Port>
Binding* Registrar<Port>::resolve_binding(Role role, void* handle, HandleState& state) {
  state = look_up(handle, HandleKind::kBinding);
  if (state != HandleState::kValid) {
    return nullptr;
  }
  Binding& binding = bindings_[number_of_handle(handle) - 1];
  const ModuleNumber caller = port_.module();
  if (binding.registration(role).module != caller && !is_mutant(Mutant::kTakesForeignHandle)) {
    const bool other_side = binding.registration(opposite(role)).module == caller;
    state = other_side ? HandleState::kWrongKind : HandleState::kForeign;
  } else if (binding.state == BindingState::kGone) {
    state = HandleState::kStale;
  }
  return &binding;
}

}  // namespace nmrfuzz::nmr
