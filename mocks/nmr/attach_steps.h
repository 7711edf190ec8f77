// attach_steps.h - from the offer of a pair to the attached binding, or its refusal. Part of registrar.h.
#pragma once

#include "nmr/calls.h"
#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// What the provider's outputs hold before it is asked: a value no module would store.
inline void* const kPoisonedOutput = reinterpret_cast<void*>(0x00a4dead00000000);

// Under the lock, as are all three.
template <class Port>
void Registrar<Port>::move(Binding& binding, BindingState to) {
  require(may_move(binding.state, to));
  port_.emit(trace::EventKind::kBindingState, Routine::kNone, binding.number, 0,
             static_cast<std::uint64_t>(binding.state), static_cast<std::uint64_t>(to), 0);
  binding.state = to;
}

// A worker thread of the registrar that runs `body` for a binding.
template <class Port>
void Registrar<Port>::start_job(JobBody body, Binding& binding, Role role) {
  Job* job = nullptr;
  {
    const Locked locked(*this);
    job = &jobs_.add();
    *job = {this, body, &binding, role};
  }
  port_.spawn(
      [](void* argument) {
        const Job& started = *static_cast<const Job*>(argument);
        started.body(*started.registrar, started);
      },
      job);
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
  const bool was_detached = binding.state == BindingState::kCleaning;
  move(binding, BindingState::kGone);
  for (const Role role : {Role::kClient, Role::kProvider}) {
    Side& side = binding.side(role);
    Registration& registration = *side.registration;
    (side.previous != nullptr ? side.previous->side(role).next : registration.first_binding) = side.next;
    (side.next != nullptr ? side.next->side(role).previous : registration.last_binding) = side.previous;
    --registration.bindings;
    if (was_detached && world_.drain_point == DrainPoint::kAfterDetachUnsafe) {
      --registration.detached;
    }
    leave_if_drained(registration);
  }
}

// Offers one pair, unless one of the two has begun to leave since the offer was planned (G9). Returns the binding.
template <class Port>
Binding* Registrar<Port>::offer(Registration& client, Registration& provider) {
  Binding* binding = nullptr;
  {
    const Locked locked(*this);
    if ((!is_live(client) || !is_live(provider)) && !is_mutant(Mutant::kOffersToLeaving)) {
      return nullptr;
    }
    binding = &add_binding(client, provider);
    port_.emit(trace::EventKind::kOffer, Routine::kNone, binding->number, 0, client.number, provider.number, 0);
  }
  if (world_.attach_thread == AttachThread::kCaller) {
    run_offer(*binding);
    return binding;
  }
  start_job([](Registrar& self, const Job& job) { self.run_offer(*job.binding); }, *binding, Role::kClient);
  if (world_.attach_thread == AttachThread::kWorkerThenWait) {
    const Locked locked(*this);
    while (!binding->offer_finished) {
      port_.park(binding->offer_done);
    }
  }
  return binding;
}

// The last moment at which an offer is withdrawn because one of the two has begun to leave: nothing has been started
// yet, so nothing is (G9). Under the lock.
template <class Port>
bool Registrar<Port>::may_enter_offer(Binding& binding) {
  const bool live = is_live(binding.registration(Role::kClient)) && is_live(binding.registration(Role::kProvider));
  if (!live && !is_mutant(Mutant::kOffersToLeaving)) {
    remove_binding(binding);
    return false;
  }
  check_content(binding.registration(Role::kClient));
  check_content(binding.registration(Role::kProvider));
  binding.attacher = port_.thread();
  return true;
}

template <class Port>
void Registrar<Port>::run_offer(Binding& binding) {
  port_.point(Routine::ClientAttachProvider, binding.number);
  bool entered = false;
  {
    const Locked locked(*this);
    entered = may_enter_offer(binding);
  }
  if (entered) {
    const Characteristics& shown = binding.registration(Role::kProvider).characteristics;
    const Status status =
        call_client_attach(port_, binding, is_mutant(Mutant::kShowsCopyOfInstance) ? &shown : shown.instance);
    mutate_refusal(binding);
    finish_offer(binding, status);
  }
  const Locked locked(*this);
  binding.offer_finished = true;
  port_.wake(binding.offer_done);
}

// What a registrar must not do after a refusal (G11, G16).
template <class Port>
void Registrar<Port>::mutate_refusal(Binding& binding) {
  if constexpr (kHasMutants) {
    if (binding.state == BindingState::kOffered && is_mutant(Mutant::kTellsRefusedProvider)) {
      call_detach(port_, binding, Role::kProvider, binding.side(Role::kProvider).context);
    }
    if (binding.state == BindingState::kOffered && is_mutant(Mutant::kCleansUpRefusedClient) &&
        binding.registration(Role::kClient).characteristics.callbacks.cleanup != nullptr) {
      call_cleanup(port_, binding, Role::kClient, binding.side(Role::kClient).context);
    }
  }
}

template <class Port>
void Registrar<Port>::finish_offer(Binding& binding, Status status) {
  const bool refuses_late = binding.state == BindingState::kAccepted && status != kernel::kStatusSuccess;
  if (refuses_late && world_.late_refusal == LateRefusal::kStop && !is_mutant(Mutant::kGoesOnAfterLateRefusal)) {
    port_.stop();  // A11
  }
  const bool detaches = end_attach(binding, status);
  port_.point(Routine::ClientAttachProvider, binding.number);
  if (!detaches) {
    return;
  }
  if (world_.late_detach_thread == LateDetachThread::kWorker) {
    start_job([](Registrar& self, const Job& job) { self.detach(*job.binding); }, binding, Role::kClient);
  } else {
    detach(binding);
  }
}

// Returns whether the caller has to detach the binding at once: a deregistration met it in the making (G8), or its
// client refused late.
template <class Port>
bool Registrar<Port>::end_attach(Binding& binding, Status status) {
  const Locked locked(*this);
  binding.attacher = 0;
  if (binding.state != BindingState::kAccepted) {  // declined (or a success that nobody accepted: R37)
    remember_refusal(binding);
    remove_binding(binding);
    return false;
  }
  if (status != kernel::kStatusSuccess) {  // R39
    refuse_late(binding);
    return true;
  }
  move(binding, BindingState::kAttached);
  hold_dispatch(binding);
  for (const Role role : {Role::kClient, Role::kProvider}) {
    if (!is_live(binding.registration(role)) && !is_mutant(Mutant::kForgetsLateBind)) {
      return begin_detach(binding, role) && !leave_to_deregisterer(binding);
    }
  }
  return false;
}

// The client returned a failure after its provider had accepted. The client is not called again (A11). Under the lock.
template <class Port>
void Registrar<Port>::refuse_late(Binding& binding) {
  binding.provider_only = true;
  move(binding, BindingState::kDetaching);
  for (const Role role : {Role::kClient, Role::kProvider}) {
    if (is_passed_over(binding, role)) {
      begin_side(binding, role);
      move(binding, role, DetachProgress::kDone);
    }
  }
}

template <class Port>
bool Registrar<Port>::may_attempt_attach(const Binding& binding) const {
  if (!binding.attach_attempted) {
    return true;
  }
  switch (world_.attach_retry) {
    case AttachRetry::kAnyFailure:
      return true;
    case AttachRetry::kNoInterfaceOnly:
      return binding.last_attach_status == kernel::kStatusNoInterface;
    case AttachRetry::kNone:
      return false;
  }
  return false;
}

// Only from inside this binding's own attach callback, and before a success (R32, R46).
template <class Port>
HandleState Registrar<Port>::enter_attach_call(void* handle, const void* client_context, Binding*& binding) {
  const Locked locked(*this);
  HandleState state = HandleState::kValid;
  binding = resolve_binding(Role::kClient, handle, state);
  if (state == HandleState::kValid &&
      (binding->state != BindingState::kOffered || binding->attacher != port_.thread())) {
    state = HandleState::kWrongState;
  }
  port_.emit(trace::EventKind::kAttachCallEnter, Routine::NmrClientAttachProvider,
             binding != nullptr ? binding->number : 0, 0, static_cast<std::uint64_t>(state),
             port_.number_of(client_context), port_.module());
  return state;
}

template <class Port>
Status Registrar<Port>::client_attach_provider(void* binding_handle, void* client_context, const void* client_dispatch,
                                               void** provider_context, const void** provider_dispatch) {
  constexpr Routine kRoutine = Routine::NmrClientAttachProvider;
  port_.point(kRoutine, number_of_handle(binding_handle));
  Binding* binding = nullptr;
  const HandleState state = enter_attach_call(binding_handle, client_context, binding);
  const ObjectNumber number = binding != nullptr ? binding->number : 0;
  Status status = kernel::kStatusInvalidParameter;
  if (state == HandleState::kValid) {
    status = ask_provider(*binding, client_context, client_dispatch);
    if (status == kernel::kStatusSuccess || is_mutant(Mutant::kStoresRefusedOutputs)) {
      *provider_context = binding->side(Role::kProvider).context;
      *provider_dispatch = binding->side(Role::kProvider).dispatch;
    }
    if (status != kernel::kStatusSuccess && is_mutant(Mutant::kHidesProviderStatus)) {
      status = kernel::kStatusUnsuccessful;
    }
  }
  port_.emit(trace::EventKind::kAttachCallExit, kRoutine, number, status, 0,
             status == kernel::kStatusSuccess ? port_.number_of(binding->side(Role::kProvider).context) : 0,
             port_.module());
  port_.point(kRoutine, number);
  return status;
}

template <class Port>
bool Registrar<Port>::may_ask_provider(const Binding& binding) const {
  return is_live(*binding.sides[index_of(Role::kProvider)].registration) || is_mutant(Mutant::kAsksLeavingProvider);
}

// Returns the provider's answer, or a refusal without asking: decided, in a world without a retry, or because the
// provider has begun to leave (X28).
template <class Port>
Status Registrar<Port>::ask_provider(Binding& binding, void* client_context, const void* client_dispatch) {
  bool allowed = false;
  {
    const Locked locked(*this);
    allowed = may_attempt_attach(binding) && may_ask_provider(binding);
  }
  Status status = kernel::kStatusNoInterface;
  if (allowed) {
    status = port_.fails(Routine::NmrClientAttachProvider) ? kernel::kStatusInsufficientResources
                                                           : call_provider(binding, client_context, client_dispatch);
  }
  const Locked locked(*this);
  binding.attach_attempted = true;
  binding.last_attach_status = status;
  return status;
}

template <class Port>
Status Registrar<Port>::call_provider(Binding& binding, void* client_context, const void* client_dispatch) {
  port_.point(Routine::ProviderAttachClient, binding.number);
  {
    const Locked locked(*this);
    if (!may_ask_provider(binding)) {
      return kernel::kStatusNoInterface;
    }
    Side& client = binding.side(Role::kClient);
    Side& provider = binding.side(Role::kProvider);
    client.context = client_context;
    client.dispatch = client_dispatch;
    provider.context = kPoisonedOutput;
    provider.dispatch = kPoisonedOutput;
    move(binding, BindingState::kNegotiating);
  }
  Status status = call_provider_attach(port_, binding, kPoisonedOutput);
  if (status == kernel::kStatusPending && is_mutant(Mutant::kTakesPendingAsSuccess)) {
    status = kernel::kStatusSuccess;
  }
  {
    const Locked locked(*this);
    move(binding, status == kernel::kStatusSuccess ? BindingState::kAccepted : BindingState::kOffered);
  }
  port_.point(Routine::ProviderAttachClient, binding.number);
  return status;
}

}  // namespace nmrfuzz::nmr
