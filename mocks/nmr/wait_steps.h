// wait_steps.h - the end of a registration: drained, waited for, closed. Part of registrar.h.
#pragma once

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

template <class Port>
Status Registrar<Port>::wait_for_deregister(Role role, void* handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrWaitForClientDeregisterComplete
                                                : Routine::NmrWaitForProviderDeregisterComplete;
  port_.point(routine, number_of_handle(handle));
  Registration* registration = nullptr;
  {
    const Locked locked(*this);
    HandleState state = HandleState::kValid;
    registration = resolve_registration(role, handle, state);
    if (state == HandleState::kValid && is_live(*registration) && !is_mutant(Mutant::kWaitOnActiveSucceeds)) {
      state = HandleState::kWrongState;
    }
    port_.emit(trace::EventKind::kWaitEnter, routine, registration != nullptr ? registration->number : 0, 0,
               static_cast<std::uint64_t>(state),
               is_tolerated_wait(registration, state) ? 1 : (registration != nullptr ? registration->bindings : 0),
               port_.module());
    if (state != HandleState::kValid) {
      return refuse_wait(routine, registration, state);
    }
  }
  wait_until_drained(*registration);
  {
    const Locked locked(*this);
    if (registration->state == RegistrationState::kDrained) {  // else another waiter of the same handle was first
      close(*registration);
    }
    port_.emit(trace::EventKind::kWaitExit, routine, registration->number, kernel::kStatusSuccess, 0, 0,
               registration->module);
  }
  port_.point(routine, registration->number);
  return kernel::kStatusSuccess;
}

// A wait for what is closed already that this world lets pass (A1, A16).
template <class Port>
bool Registrar<Port>::is_tolerated_wait(const Registration* registration, HandleState state) const {
  return state == HandleState::kStale &&
         (world_.double_wait == DoubleWait::kTolerate || registration->closed_when_idle);
}

// Under the lock.
template <class Port>
Status Registrar<Port>::refuse_wait(Routine routine, const Registration* registration, HandleState state) {
  const Status status =
      is_tolerated_wait(registration, state) ? kernel::kStatusSuccess : kernel::kStatusInvalidParameter;
  port_.emit(trace::EventKind::kWaitExit, routine, registration != nullptr ? registration->number : 0, status, 0, 0,
             port_.module());
  return status;
}

// Runs the cleanups that were left to the wait, and returns when nothing of the registration is left (G20).
template <class Port>
void Registrar<Port>::wait_until_drained(Registration& registration) {
  const auto still_open = [&] {
    return registration.state == RegistrationState::kDeregistering;  // in all later states nothing is left
  };
  for (;;) {
    Binding* deferred = nullptr;
    {
      const Locked locked(*this);
      while ((deferred = take_deferred(registration)) == nullptr && still_open()) {
        port_.park(registration.wait_object);
      }
    }
    if (deferred == nullptr) {
      return;
    }
    clean_up(*deferred);
  }
}

// Drained: deregistering, no binding left, no Register or Deregister call at work on it (G20). The last step that the
// registrar takes with a registration is to wake its waiter (G21). Under the lock.
template <class Port>
void Registrar<Port>::leave_if_drained(Registration& registration) {
  const bool no_binding = registration.bindings == registration.detached || is_mutant(Mutant::kDrainedAtOnce);
  if (registration.state == RegistrationState::kDeregistering && no_binding && registration.calls == 0) {
    move(registration, RegistrationState::kDrained);
    port_.wake(registration.wait_object);
  }
}

// Under the lock.
template <class Port>
void Registrar<Port>::close(Registration& registration) {
  check_content(registration);
  move(registration, RegistrationState::kClosed);
  for (const ObjectNumber held : registration.data) {
    if (held != 0) {
      port_.release(held);
    }
  }
  Npi& npi = npis_[registration.npi];
  const std::size_t role = index_of(registration.role);
  (registration.previous_of_npi != nullptr ? registration.previous_of_npi->next_of_npi : npi.first[role]) =
      registration.next_of_npi;
  (registration.next_of_npi != nullptr ? registration.next_of_npi->previous_of_npi : npi.last[role]) =
      registration.previous_of_npi;
}

}  // namespace nmrfuzz::nmr
