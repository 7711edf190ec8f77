// detach_steps.h - from the first deregistration that meets a binding to its end. Part of registrar.h.
#pragma once

#include <cstdlib>

#include "nmr/calls.h"
#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

template <class Port>
void Registrar<Port>::move(Binding& binding, Role role, DetachProgress to) {
  Side& side = binding.side(role);
  if (!may_move(side.progress, to)) {
    std::abort();  // a fault of the registrar's own
  }
  port_.emit(trace::EventKind::kSideState, Routine::kNone, binding.number, static_cast<Status>(role),
             static_cast<std::uint64_t>(side.progress), static_cast<std::uint64_t>(to), side.registration->module);
  side.progress = to;
}

// Whether the caller is the one to detach the binding: true once in its life (G10). Callers hold the lock.
template <class Port>
bool Registrar<Port>::begin_detach(Binding& binding, Role initiator) {
  if (binding.state != BindingState::kAttached) {
    return false;
  }
  binding.initiator = initiator;
  move(binding, BindingState::kDetaching);
  return true;
}

// Calls both sides' detach callbacks; what they leave pending is finished by detach_complete().
template <class Port>
void Registrar<Port>::detach(Binding& binding) {
  const Role first = first_to_detach(binding);
  {
    // Until both callbacks have been called the binding cannot be through, whoever completes what (G14).
    const Locked locked(*this);
    binding.callbacks_running = static_cast<std::uint8_t>(binding.callbacks_running + 2);
  }
  if (world_.detach_order == DetachOrder::kOverlap) {
    start_job([](Registrar& self, const Job& job) { self.detach_side(*job.binding, job.role); }, binding, first);
  } else {
    detach_side(binding, first);
  }
  detach_side(binding, opposite(first));
}

template <class Port>
Role Registrar<Port>::first_to_detach(const Binding& binding) const {
  switch (world_.detach_order) {
    case DetachOrder::kClientFirst: return Role::kClient;
    case DetachOrder::kProviderFirst: return Role::kProvider;
    case DetachOrder::kPeerFirst: return opposite(binding.initiator);
    case DetachOrder::kOwnFirst:
    case DetachOrder::kOverlap: break;
  }
  return binding.initiator;
}

template <class Port>
void Registrar<Port>::detach_side(Binding& binding, Role role) {
  Side& side = binding.side(role);
  if (side.progress != DetachProgress::kDone) {  // done without a call: the client that refused late
    move(binding, role,
         side.progress == DetachProgress::kCompletedEarly ? DetachProgress::kCallingCompleted
                                                          : DetachProgress::kCalling);
    const std::uint8_t irql = port_.irql();
    if (world_.detach_irql == DetachIrql::kDispatch && irql < kernel::kDispatchLevel) {
      port_.set_irql(kernel::kDispatchLevel);
    }
    const Status status = call_detach(port_, binding, role);
    port_.set_irql(irql);
    settle_side(binding, role, status);
  }
  --binding.callbacks_running;
  after_detach_step(binding);
}

// A side that has completed is done when its callback has returned, not before (G15). Anything but STATUS_PENDING
// counts as done, so that a callback with a forbidden status does not also hang its peer.
template <class Port>
void Registrar<Port>::settle_side(Binding& binding, Role role, Status status) {
  const Locked locked(*this);
  const bool completed = binding.side(role).progress == DetachProgress::kCallingCompleted;
  move(binding, role,
       status == kernel::kStatusPending && !completed ? DetachProgress::kPending : DetachProgress::kDone);
}

// The handle of *DetachComplete. The caller has to be the side that the routine is for (R72, R73).
template <class Port>
Binding* Registrar<Port>::resolve_binding(Role role, void* handle, HandleState& state) {
  const HandleKind kind = kind_of_handle(handle);
  const ObjectNumber number = number_of_handle(handle);
  if (handle == nullptr) {
    state = HandleState::kNull;
  } else if (kind == HandleKind::kNone || number == 0 ||
             number > (kind == HandleKind::kBinding ? bindings_.size() : registrations_.size())) {
    state = HandleState::kUnknown;
  } else if (kind != HandleKind::kBinding) {
    state = HandleState::kWrongKind;
  } else {
    Binding& binding = bindings_[number - 1];
    const ModuleNumber caller = port_.module();
    if (binding.registration(role).module != caller) {
      const bool other_side = binding.registration(opposite(role)).module == caller;
      state = other_side ? HandleState::kWrongKind : HandleState::kForeign;
    } else {
      state = binding.state == BindingState::kGone ? HandleState::kStale : HandleState::kValid;
    }
    return &binding;
  }
  return nullptr;
}

template <class Port>
void Registrar<Port>::detach_complete(Role role, void* binding_handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrClientDetachProviderComplete
                                                : Routine::NmrProviderDetachClientComplete;
  port_.point(routine, number_of_handle(binding_handle));
  HandleState state = HandleState::kValid;
  Binding* const binding = resolve_binding(role, binding_handle, state);
  const ObjectNumber number = binding != nullptr ? binding->number : 0;
  const DetachProgress progress = binding != nullptr ? binding->side(role).progress : DetachProgress::kIdle;
  const bool attached = binding != nullptr && (binding->state == BindingState::kAttached ||
                                               binding->state == BindingState::kDetaching);
  const bool early = progress == DetachProgress::kIdle && world_.early_complete == EarlyComplete::kRemember;
  const bool due = progress == DetachProgress::kCalling || progress == DetachProgress::kPending;
  if (state == HandleState::kValid && !(attached && (early || due))) {
    state = HandleState::kWrongState;
  }
  port_.emit(trace::EventKind::kComplete, routine, number, 0, static_cast<std::uint64_t>(state),
             static_cast<std::uint64_t>(progress), port_.module());
  if (state == HandleState::kValid) {
    if (early) {
      move(*binding, role, DetachProgress::kCompletedEarly);
    } else if (progress == DetachProgress::kCalling) {
      move(*binding, role, DetachProgress::kCallingCompleted);
    } else {
      move(*binding, role, DetachProgress::kDone);
      after_detach_step(*binding);
    }
  }
  // The cleanups may have run, the waiter may have been woken, the module may be gone before the caller goes on (X16).
  port_.point(routine, number);
}

// True for the one caller that made the second side done with no detach callback running (G14, G15).
template <class Port>
bool Registrar<Port>::take_detached(Binding& binding) {
  const Locked locked(*this);
  if (binding.state != BindingState::kDetaching || binding.callbacks_running != 0 ||
      binding.side(Role::kClient).progress != DetachProgress::kDone ||
      binding.side(Role::kProvider).progress != DetachProgress::kDone) {
    return false;
  }
  move(binding, BindingState::kDetached);
  return true;
}

template <class Port>
void Registrar<Port>::after_detach_step(Binding& binding) {
  if (!take_detached(binding)) {
    return;
  }
  switch (world_.cleanup_where) {
    case CleanupWhere::kInline: clean_up(binding); break;
    case CleanupWhere::kWorker:
      start_job([](Registrar& self, const Job& job) { self.clean_up(*job.binding); }, binding, Role::kClient);
      break;
    case CleanupWhere::kAtWait: {
      Registration& waited = binding.registration(binding.initiator);
      binding.next_deferred = waited.deferred_cleanups;
      waited.deferred_cleanups = &binding;
      port_.wake(waited.wait_object);
      break;
    }
    case CleanupWhere::kDispatch: {
      const std::uint8_t irql = port_.irql();
      port_.set_irql(irql < kernel::kDispatchLevel ? kernel::kDispatchLevel : irql);
      clean_up(binding);
      port_.set_irql(irql);
      break;
    }
  }
}

template <class Port>
Role Registrar<Port>::first_to_clean_up(const Binding& binding) const {
  switch (world_.cleanup_order) {
    case CleanupOrder::kClientFirst: return Role::kClient;
    case CleanupOrder::kProviderFirst: return Role::kProvider;
    case CleanupOrder::kOwnFirst: break;
  }
  return binding.initiator;
}

template <class Port>
void Registrar<Port>::clean_up(Binding& binding) {
  const Role first = first_to_clean_up(binding);
  move(binding, BindingState::kCleaning);
  clean_up_side(binding, first);
  clean_up_side(binding, opposite(first));
  const Locked locked(*this);
  remove_binding(binding);
}

template <class Port>
void Registrar<Port>::clean_up_side(Binding& binding, Role role) {
  const Side& side = binding.side(role);
  const bool refused = binding.provider_only && role == Role::kClient;  // the client frees that itself (G16)
  const bool skipped = side.context == nullptr && world_.null_context == NullContext::kSkipCleanup;
  if (side.registration->characteristics.callbacks.cleanup != nullptr && !refused && !skipped) {
    call_cleanup(port_, binding, role);
  }
}

}  // namespace nmrfuzz::nmr
