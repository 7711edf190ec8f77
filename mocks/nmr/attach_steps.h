// attach_steps.h - from the offer of a pair to the attached binding, or its refusal. Part of registrar.h.
#pragma once

#include <cstdlib>

#include "nmr/calls.h"
#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// What the provider's outputs hold before it is asked: a value no module would store.
inline void* const kPoisonedOutput = reinterpret_cast<void*>(0x00a4dead00000000);

template <class Port>
void Registrar<Port>::move(Binding& binding, BindingState to) {
  if (!may_move(binding.state, to)) {
    std::abort();  // a fault of the registrar's own
  }
  port_.emit(trace::EventKind::kBindingState, Routine::kNone, binding.number, 0,
             static_cast<std::uint64_t>(binding.state), static_cast<std::uint64_t>(to), 0);
  binding.state = to;
}

// A worker thread of the registrar that runs `body` for a binding.
template <class Port>
void Registrar<Port>::start_job(JobBody body, Binding& binding, Role role) {
  Job& job = jobs_.add();
  job = {this, body, &binding, role};
  port_.spawn(
      [](void* argument) {
        const Job& started = *static_cast<const Job*>(argument);
        started.body(*started.registrar, started);
      },
      &job);
}

template <class Port>
Binding& Registrar<Port>::add_binding(Registration& client, Registration& provider) {
  Binding& added = bindings_.add();
  added.number = static_cast<ObjectNumber>(bindings_.size());
  for (Registration* const registration : {&client, &provider}) {
    Side& side = added.side(registration->role);
    side.registration = registration;
    side.previous = registration->last_binding;
    (side.previous != nullptr ? side.previous->side(registration->role).next : registration->first_binding) = &added;
    registration->last_binding = &added;
    ++registration->bindings;
  }
  return added;
}

template <class Port>
void Registrar<Port>::remove_binding(Binding& binding) {
  move(binding, BindingState::kGone);
  for (const Role role : {Role::kClient, Role::kProvider}) {
    Side& side = binding.side(role);
    Registration& registration = *side.registration;
    (side.previous != nullptr ? side.previous->side(role).next : registration.first_binding) = side.next;
    (side.next != nullptr ? side.next->side(role).previous : registration.last_binding) = side.previous;
    --registration.bindings;
    leave_if_drained(registration);
  }
}

// Offers one pair, unless one of the two has begun to leave since the offer was planned (G9).
template <class Port>
void Registrar<Port>::offer(Registration& client, Registration& provider) {
  Binding* binding = nullptr;
  {
    const Locked locked(*this);
    if (!is_live(client) || !is_live(provider)) {
      return;
    }
    binding = &add_binding(client, provider);
    port_.emit(trace::EventKind::kOffer, Routine::kNone, binding->number, 0, client.number, provider.number, 0);
  }
  if (world_.attach_thread == AttachThread::kCaller) {
    run_offer(*binding);
    return;
  }
  start_job([](Registrar& self, const Job& job) { self.run_offer(*job.binding); }, *binding, Role::kClient);
  if (world_.attach_thread == AttachThread::kWorkerThenWait) {
    while (!binding->offer_finished) {
      port_.park(binding->offer_done);
    }
  }
}

template <class Port>
void Registrar<Port>::run_offer(Binding& binding) {
  Registration& client = binding.registration(Role::kClient);
  {
    // On a thread of its own the offer may come too late: nothing has been started yet, so nothing is (G9).
    const Locked locked(*this);
    if (!is_live(client) || !is_live(binding.registration(Role::kProvider))) {
      remove_binding(binding);
      binding.offer_finished = true;
      port_.wake(binding.offer_done);
      return;
    }
  }
  binding.attacher = port_.thread();
  const Status status = call_client_attach(port_, binding);
  finish_offer(binding, status);
  binding.offer_finished = true;
  port_.wake(binding.offer_done);
}

template <class Port>
void Registrar<Port>::finish_offer(Binding& binding, Status status) {
  bool late = false;
  {
    const Locked locked(*this);
    binding.attacher = 0;
    if (binding.state != BindingState::kAccepted) {  // declined (or a success that nobody accepted: R37)
      remove_binding(binding);
      return;
    }
    if (status != kernel::kStatusSuccess) {  // R39
      refuse_late(binding);
    } else {
      move(binding, BindingState::kAttached);
    }
    for (const Role role : {Role::kClient, Role::kProvider}) {
      late = late || (!is_live(binding.registration(role)) && begin_detach(binding, role));
    }
    late = late || binding.provider_only;
  }
  if (!late) {
    return;
  }
  if (world_.late_detach_thread == LateDetachThread::kWorker) {
    start_job([](Registrar& self, const Job& job) { self.detach(*job.binding); }, binding, Role::kClient);
  } else {
    detach(binding);
  }
}

// The client returned a failure after its provider had accepted. The client is not called again (A11).
template <class Port>
void Registrar<Port>::refuse_late(Binding& binding) {
  binding.provider_only = true;
  move(binding, BindingState::kDetaching);
  move(binding, Role::kClient, DetachProgress::kCalling);
  move(binding, Role::kClient, DetachProgress::kDone);
  if (world_.late_refusal == LateRefusal::kCleanupOnly) {
    move(binding, Role::kProvider, DetachProgress::kCalling);
    move(binding, Role::kProvider, DetachProgress::kDone);
  }
}

template <class Port>
bool Registrar<Port>::may_attempt_attach(const Binding& binding) const {
  if (binding.attach_attempts == 0) {
    return true;
  }
  switch (world_.attach_retry) {
    case AttachRetry::kAnyFailure: return true;
    case AttachRetry::kNoInterfaceOnly: return binding.last_attach_status == kernel::kStatusNoInterface;
    case AttachRetry::kNone: return false;
  }
  return false;
}

template <class Port>
Status Registrar<Port>::client_attach_provider(void* binding_handle, void* client_context,
                                               const void* client_dispatch, void** provider_context,
                                               const void** provider_dispatch) {
  constexpr Routine kRoutine = Routine::NmrClientAttachProvider;
  port_.point(kRoutine, number_of_handle(binding_handle));
  HandleState state = HandleState::kValid;
  Binding* const binding = resolve_binding(Role::kClient, binding_handle, state);
  // Only from inside this binding's own attach callback, and before a success (R32, R46).
  if (state == HandleState::kValid &&
      (binding->state != BindingState::kOffered || binding->attacher != port_.thread())) {
    state = HandleState::kWrongState;
  }
  const ObjectNumber number = binding != nullptr ? binding->number : 0;
  port_.emit(trace::EventKind::kAttachCallEnter, kRoutine, number, 0, static_cast<std::uint64_t>(state),
             port_.number_of(client_context), port_.module());
  Status status = kernel::kStatusInvalidParameter;
  if (state == HandleState::kValid) {
    status = ask_provider(*binding, client_context, client_dispatch);
    if (status == kernel::kStatusSuccess) {
      *provider_context = binding->side(Role::kProvider).context;
      *provider_dispatch = binding->side(Role::kProvider).dispatch;
    }
  }
  port_.emit(trace::EventKind::kAttachCallExit, kRoutine, number, status, 0,
             status == kernel::kStatusSuccess ? port_.number_of(binding->side(Role::kProvider).context) : 0,
             port_.module());
  port_.point(kRoutine, number);
  return status;
}

// Returns the provider's answer, or a refusal without asking: decided, in a world without a retry, or because the provider
// has begun to leave (X28).
template <class Port>
Status Registrar<Port>::ask_provider(Binding& binding, void* client_context, const void* client_dispatch) {
  Status status = kernel::kStatusNoInterface;
  if (may_attempt_attach(binding) && is_live(binding.registration(Role::kProvider))) {
    if (port_.fails(Routine::NmrClientAttachProvider)) {
      status = kernel::kStatusInsufficientResources;
    } else {
      Side& client = binding.side(Role::kClient);
      Side& provider = binding.side(Role::kProvider);
      client.context = client_context;
      client.dispatch = client_dispatch;
      provider.context = kPoisonedOutput;
      provider.dispatch = kPoisonedOutput;
      move(binding, BindingState::kNegotiating);
      status = call_provider_attach(port_, binding, kPoisonedOutput);
      move(binding, status == kernel::kStatusSuccess ? BindingState::kAccepted : BindingState::kOffered);
    }
  }
  ++binding.attach_attempts;
  binding.last_attach_status = status;
  return status;
}

}  // namespace nmrfuzz::nmr
