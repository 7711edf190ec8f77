// detach_steps.h - from the first deregistration that meets a binding to its end. Part of registrar.h.
#pragma once

#include <utility>

#include "nmr/calls.h"
#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// Under the lock, as are all three.
template <class Port>
void Registrar<Port>::move(Binding& binding, Role role, DetachProgress to) {
  Side& side = binding.side(role);
  require(may_move(side.progress, to));
  port_.emit(trace::EventKind::kSideState, Routine::kNone, binding.number, static_cast<Status>(role),
             static_cast<std::uint64_t>(side.progress), static_cast<std::uint64_t>(to), side.registration->module);
  side.progress = to;
}

// Whether the caller is the one to detach the binding: true once in its life (G10). Under the lock.
template <class Port>
bool Registrar<Port>::begin_detach(Binding& binding, Role initiator) {
  const bool mutated = (binding.state == BindingState::kAccepted && is_mutant(Mutant::kDetachesAccepted)) ||
                       (binding.state == BindingState::kDetaching && is_mutant(Mutant::kLeavesTwice));
  if (binding.state != BindingState::kAttached && !mutated) {
    return false;
  }
  binding.initiator = initiator;
  move(binding, BindingState::kDetaching);
  return true;
}

// Leaves the detach of a binding whose attach has just ended to a deregistration that is still at work on its
// registration (A28). False if there is none. Under the lock.
template <class Port>
bool Registrar<Port>::leave_to_deregisterer(Binding& binding) {
  for (const Role role : {Role::kClient, Role::kProvider}) {
    Registration& registration = binding.registration(role);
    if (registration.takes_late_detaches) {
      if (!is_mutant(Mutant::kForgetsLateOfDeregister)) {
        binding.next_late = std::exchange(registration.late_detaches, &binding);
      }
      return true;
    }
  }
  return false;
}

// What leave_to_deregisterer() has left to this call of Deregister. It does not wait for more (G19).
template <class Port>
void Registrar<Port>::detach_late(Registration& registration) {
  if (world_.late_detach_thread != LateDetachThread::kDeregisterer) {
    return;
  }
  for (;;) {
    Binding* late = nullptr;
    {
      const Locked locked(*this);
      late = registration.late_detaches;
      if (late == nullptr) {
        registration.takes_late_detaches = false;
        return;
      }
      registration.late_detaches = late->next_late;
    }
    detach(*late);
  }
}

// Calls both sides' detach callbacks; what they leave pending is finished by detach_complete().
template <class Port>
void Registrar<Port>::detach(Binding& binding) {
  const Role first = first_to_detach(binding);
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
    case DetachOrder::kClientFirst:
      return Role::kClient;
    case DetachOrder::kProviderFirst:
      return Role::kProvider;
    case DetachOrder::kPeerFirst:
      return opposite(binding.initiator);
    case DetachOrder::kOwnFirst:
    case DetachOrder::kOverlap:
      break;
  }
  return binding.initiator;
}

// A side of a binding whose client refused late, which is done without a call (A11).
template <class Port>
bool Registrar<Port>::is_passed_over(const Binding& binding, Role role) const {
  return binding.provider_only && (role == Role::kClient || world_.late_refusal == LateRefusal::kCleanupOnly);
}

template <class Port>
void Registrar<Port>::detach_side(Binding& binding, Role role) {
  bool detached = false;
  if (is_passed_over(binding, role)) {
    const Locked locked(*this);
    detached = take_detached(binding);
  } else {
    const Routine routine = routine_of(detach_callback(role));
    port_.point(routine, binding.number);
    {
      const Locked locked(*this);
      begin_side(binding, role);
    }
    void* const context = context_of(binding, role);
    Status status = kernel::kStatusSuccess;
    const bool skipped = (is_mutant(Mutant::kTellsOneSide) && role != binding.initiator) ||
                         (is_mutant(Mutant::kSkipsNullContext) && context == nullptr);
    if (!skipped) {
      const std::uint8_t irql = port_.irql();
      if (world_.detach_irql == DetachIrql::kDispatch && irql < kernel::kDispatchLevel) {
        port_.set_irql(kernel::kDispatchLevel);
      }
      status = call_detach(port_, binding, role, context);
      port_.set_irql(irql);
    }
    detached = settle_side(binding, role, status);
    port_.point(routine, binding.number);
  }
  if (detached) {
    start_cleanup(binding);
  }
}

// Under the lock.
template <class Port>
void Registrar<Port>::begin_side(Binding& binding, Role role) {
  move(binding, role,
       binding.side(role).progress == DetachProgress::kCompletedEarly ? DetachProgress::kCallingCompleted
                                                                      : DetachProgress::kCalling);
}

// A side that has completed is done when its callback has returned, not before (G15). Anything but STATUS_PENDING
// counts as done, so that a callback with a forbidden status does not also hang its peer. Returns whether the caller
// has to start the cleanup.
template <class Port>
bool Registrar<Port>::settle_side(Binding& binding, Role role, Status status) {
  const Locked locked(*this);
  const bool completed = binding.side(role).progress == DetachProgress::kCallingCompleted;
  move(binding, role,
       status == kernel::kStatusPending && !completed ? DetachProgress::kPending : DetachProgress::kDone);
  return take_detached(binding);
}

// The context that a callback of this side is given: its own (G7).
template <class Port>
void* Registrar<Port>::context_of(const Binding& binding, Role role) const {
  const Side& side = binding.sides[index_of(role)];
  if (is_mutant(Mutant::kContextOfOtherSide)) {
    return binding.sides[index_of(opposite(role))].context;
  }
  if (is_mutant(Mutant::kContextOfFirstBinding) && side.registration->first_binding != nullptr) {
    return side.registration->first_binding->side(role).context;
  }
  return side.context;
}

// Whether a completion may be accepted: from the provider's acceptance on where the world remembers an early one (A8),
// since no side can know whether the client's attach callback has returned yet; else from the start of the detach
// callback on (G18); and once. Under the lock.
template <class Port>
HandleState Registrar<Port>::judge_completion(const Binding* binding, Role role) const {
  const DetachProgress progress = binding->sides[index_of(role)].progress;
  const bool bound = binding->state == BindingState::kAccepted || binding->state == BindingState::kAttached ||
                     binding->state == BindingState::kDetaching;
  const bool early = progress == DetachProgress::kIdle && world_.early_complete == EarlyComplete::kRemember;
  const bool due = progress == DetachProgress::kCalling || progress == DetachProgress::kPending;
  return bound && (early || due) ? HandleState::kValid : HandleState::kWrongState;
}

template <class Port>
void Registrar<Port>::detach_complete(Role role, void* binding_handle) {
  const Routine routine =
      role == Role::kClient ? Routine::NmrClientDetachProviderComplete : Routine::NmrProviderDetachClientComplete;
  port_.point(routine, number_of_handle(binding_handle));
  Binding* binding = nullptr;
  bool detached = false;
  HandleState state = HandleState::kValid;
  {
    const Locked locked(*this);
    binding = resolve_binding(role, binding_handle, state);
    if (state == HandleState::kValid) {
      state = judge_completion(binding, role);
    }
    port_.emit(trace::EventKind::kComplete, routine, binding != nullptr ? binding->number : 0, 0,
               static_cast<std::uint64_t>(state),
               static_cast<std::uint64_t>(binding != nullptr ? binding->side(role).progress : DetachProgress::kIdle),
               port_.module());
    if (state == HandleState::kValid) {
      const bool swapped =
          is_mutant(Mutant::kCompletesOtherSide) && binding->side(opposite(role)).progress == DetachProgress::kPending;
      detached = complete_side(*binding, swapped ? opposite(role) : role);
    }
  }
  if (state != HandleState::kValid && world_.bad_complete == BadComplete::kReportStop &&
      !is_mutant(Mutant::kGoesOnAfterBadComplete)) {
    port_.stop();  // A27
  }
  if (detached) {
    start_cleanup(*binding);
  }
  // The cleanups may have run, the waiter may have been woken, the module may be gone before the caller goes on (X16).
  port_.point(routine, binding != nullptr ? binding->number : 0);
}

// Returns whether the caller has to start the cleanup. Under the lock.
template <class Port>
bool Registrar<Port>::complete_side(Binding& binding, Role role) {
  mutate_completion(binding, role);
  switch (binding.side(role).progress) {
    case DetachProgress::kIdle:
      move(binding, role, DetachProgress::kCompletedEarly);
      return false;
    case DetachProgress::kCalling:
      if (is_mutant(Mutant::kDoneInsideCallback)) {
        move(binding, role, DetachProgress::kDone);
        return take_detached(binding);
      }
      if (!is_mutant(Mutant::kLosesInnerCompletion)) {
        move(binding, role, DetachProgress::kCallingCompleted);
      }
      return false;
    case DetachProgress::kPending:
      move(binding, role, DetachProgress::kDone);
      return take_detached(binding);
    case DetachProgress::kCallingCompleted:
    case DetachProgress::kCompletedEarly:
    case DetachProgress::kDone:
      break;
  }
  require(false);
  return false;
}

// What a completion must not do: change another binding (G23).
template <class Port>
void Registrar<Port>::mutate_completion(Binding& binding, Role role) {
  if constexpr (kHasMutants) {
    Binding* const next = binding.side(role).next;
    if (next != nullptr && next->side(role).progress == DetachProgress::kPending &&
        is_mutant(Mutant::kCompletesNextBinding)) {
      move(*next, role, DetachProgress::kDone);
    }
  }
}

// True for the one caller that made the second side done (G14). No detach callback is running then: its side would not
// be done (G15). Under the lock.
template <class Port>
bool Registrar<Port>::take_detached(Binding& binding) {
  const bool client_done = binding.side(Role::kClient).progress == DetachProgress::kDone;
  const bool provider_done = binding.side(Role::kProvider).progress == DetachProgress::kDone;
  const bool done = is_mutant(Mutant::kOneSideIsEnough) ? client_done || provider_done : client_done && provider_done;
  if (binding.state != BindingState::kDetaching || !done) {
    return false;
  }
  move(binding, BindingState::kDetached);
  for (const Side& side : binding.sides) {
    if (side.held_dispatch != 0) {
      port_.release(side.held_dispatch);
    }
  }
  if (world_.drain_point == DrainPoint::kAfterDetachUnsafe) {
    for (const Role role : {Role::kClient, Role::kProvider}) {
      ++binding.registration(role).detached;
      leave_if_drained(binding.registration(role));
    }
  }
  return true;
}

template <class Port>
void Registrar<Port>::start_cleanup(Binding& binding) {
  switch (world_.cleanup_where) {
    case CleanupWhere::kInline:
      clean_up(binding);
      break;
    case CleanupWhere::kWorker:
      start_job([](Registrar& self, const Job& job) { self.clean_up(*job.binding); }, binding, Role::kClient);
      break;
    case CleanupWhere::kAtWait:
      if (!defer_cleanup(binding)) {
        clean_up(binding);
      }
      break;
    case CleanupWhere::kDispatch: {
      const std::uint8_t irql = port_.irql();
      port_.set_irql(irql < kernel::kDispatchLevel ? kernel::kDispatchLevel : irql);
      clean_up(binding);
      port_.set_irql(irql);
      break;
    }
  }
}

// Leaves the cleanup to the first wait for either registration. To one of them alone would not do: a module that begins
// all its deregistrations and then waits for all, in any order, must not hang (R107). False if no wait can be expected.
template <class Port>
bool Registrar<Port>::defer_cleanup(Binding& binding) {
  const Locked locked(*this);
  if (is_live(binding.registration(Role::kClient)) && is_live(binding.registration(Role::kProvider))) {
    return false;  // the client refused late, and nobody leaves
  }
  if (is_closed(binding.registration(Role::kClient)) || is_closed(binding.registration(Role::kProvider))) {
    return false;  // drained before its cleanup (drain_point=after_detach_unsafe), and waited for already
  }
  for (const Role role : {Role::kClient, Role::kProvider}) {
    Registration& registration = binding.registration(role);
    binding.side(role).next_deferred = std::exchange(registration.deferred_cleanups, &binding);
    port_.wake(registration.wait_object);
  }
  return true;
}

// A binding whose cleanup was left to a wait for `registration`, or nullptr. Under the lock.
template <class Port>
Binding* Registrar<Port>::take_deferred(Registration& registration) {
  Binding* const taken = registration.deferred_cleanups;
  if (taken != nullptr) {
    registration.deferred_cleanups = taken->side(registration.role).next_deferred;
  }
  return taken;
}

template <class Port>
Role Registrar<Port>::first_to_clean_up(const Binding& binding) const {
  switch (world_.cleanup_order) {
    case CleanupOrder::kClientFirst:
      return Role::kClient;
    case CleanupOrder::kProviderFirst:
      return Role::kProvider;
    case CleanupOrder::kOwnFirst:
      break;
  }
  return binding.initiator;
}

template <class Port>
void Registrar<Port>::clean_up(Binding& binding) {
  {
    const Locked locked(*this);
    if (binding.state != BindingState::kDetached) {
      return;  // the other registration's wait was first
    }
    move(binding, BindingState::kCleaning);
    if (is_mutant(Mutant::kDrainedBeforeCleanup)) {
      remove_binding(binding);
    }
  }
  const Role first = first_to_clean_up(binding);
  clean_up_side(binding, first);
  clean_up_side(binding, opposite(first));
  const Locked locked(*this);
  if (!is_mutant(Mutant::kDrainedBeforeCleanup)) {
    remove_binding(binding);
  }
}

template <class Port>
void Registrar<Port>::clean_up_side(Binding& binding, Role role) {
  void* const context = context_of(binding, role);
  const bool refused = binding.provider_only && role == Role::kClient;  // the client frees that itself (G16)
  const bool skipped =
      context == nullptr && (world_.null_context == NullContext::kSkipCleanup || is_mutant(Mutant::kSkipsNullContext));
  if (binding.registration(role).characteristics.callbacks.cleanup != nullptr && !refused && !skipped) {
    const Routine routine = routine_of(cleanup_callback(role));
    port_.point(routine, binding.number);
    call_cleanup(port_, binding, role, context);
    port_.point(routine, binding.number);
  }
}

}  // namespace nmrfuzz::nmr
