// registration_steps.h - Register, Deregister and the wait: the life of a registration. Part of registrar.h.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

template <class Port>
void Registrar<Port>::reset(const World& world) {
  world_ = world;
  registrations_.clear();
  bindings_.clear();
  jobs_.clear();
  for (std::size_t i = 0; i < npis_.size(); ++i) {
    buckets_[npis_[i].id[0] % kBuckets] = nullptr;
  }
  npis_.clear();
  by_structure_.clear();
  planned_offers_.clear();
  planned_detaches_.clear();
}

template <class Port>
void Registrar<Port>::move(Registration& registration, RegistrationState to) {
  if (!may_move(registration.state, to)) {
    std::abort();  // a fault of the registrar's own
  }
  port_.emit(trace::EventKind::kRegistrationState, Routine::kNone, registration.number, 0,
             static_cast<std::uint64_t>(registration.state), static_cast<std::uint64_t>(to), registration.module);
  registration.state = to;
}

template <class Port>
std::uint32_t Registrar<Port>::npi_index(const std::array<std::uint64_t, 2>& id) {
  Npi*& bucket = buckets_[id[0] % kBuckets];
  for (const Npi* npi = bucket; npi != nullptr; npi = npi->next_in_bucket) {
    if (npi->id == id) {
      return npi->index;
    }
  }
  Npi& added = npis_.add();
  added.id = id;
  added.index = static_cast<std::uint32_t>(npis_.size() - 1);
  added.next_in_bucket = std::exchange(bucket, &added);
  return added.index;
}

template <class Port>
Registration& Registrar<Port>::add_registration(Role role, const Characteristics& characteristics, void* context) {
  Registration& added = registrations_.add();
  added.number = static_cast<ObjectNumber>(registrations_.size());
  added.role = role;
  added.module = port_.module();
  added.characteristics = characteristics;
  added.context = context;
  added.npi = npi_index(characteristics.npi);
  return added;
}

// A failed Register leaves no registration and starts no callback (G24).
template <class Port>
Status Registrar<Port>::fail_register(Routine routine, Role role, const Characteristics& characteristics,
                                      void* context, void** handle) {
  Registration& failed = add_registration(role, characteristics, context);
  port_.emit(trace::EventKind::kRegisterEnter, routine, failed.number, characteristics.callbacks.cleanup != nullptr,
             failed.npi + 1, port_.number_of(context), failed.module);
  switch (world_.fail_out) {
    case FailOut::kUntouched: break;
    case FailOut::kNull: *handle = nullptr; break;
    case FailOut::kPoison: *handle = make_handle(HandleKind::kNone, 0xdead); break;
  }
  port_.emit(trace::EventKind::kRegisterExit, routine, failed.number, kernel::kStatusInsufficientResources, 1, 0,
             failed.module);
  return kernel::kStatusInsufficientResources;
}

template <class Port>
Status Registrar<Port>::register_module(Role role, const Characteristics& characteristics, void* context,
                                        void** handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrRegisterClient : Routine::NmrRegisterProvider;
  port_.point(routine, 0);
  if (port_.fails(routine)) {
    return fail_register(routine, role, characteristics, context, handle);
  }
  Registration* added = nullptr;
  std::size_t first = 0;
  std::size_t count = 0;
  {
    const Locked locked(*this);
    added = &add_registration(role, characteristics, context);
    port_.emit(trace::EventKind::kRegisterEnter, routine, added->number, characteristics.callbacks.cleanup != nullptr,
               added->npi + 1, port_.number_of(context), added->module);
    // Planning the offers and becoming visible are one step: of two registrations that arrive together, the later one
    // offers the pair, and only that one (G1).
    first = planned_offers_.size();
    count = plan_offers(*added);
    Npi& npi = npis_[added->npi];
    added->previous_of_npi = npi.last[index_of(role)];
    (added->previous_of_npi != nullptr ? added->previous_of_npi->next_of_npi : npi.first[index_of(role)]) = added;
    npi.last[index_of(role)] = added;
    move(*added, RegistrationState::kRegistering);
    ++added->calls;
    hold_data(*added);
  }
  if (world_.handle_store == HandleStore::kBeforeOffers) {
    *handle = make_handle(handle_kind(role), added->number);
  }
  port_.point(routine, added->number);
  offer_planned(*added, first, count);
  if (world_.handle_store == HandleStore::kAfterOffers) {
    *handle = make_handle(handle_kind(role), added->number);
  }
  {
    const Locked locked(*this);
    if (added->state == RegistrationState::kRegistering) {
      move(*added, RegistrationState::kActive);
    }
    --added->calls;
    port_.emit(trace::EventKind::kRegisterExit, routine, added->number, kernel::kStatusSuccess, 0, 0, added->module);
    leave_if_drained(*added);
  }
  port_.point(routine, added->number);
  return kernel::kStatusSuccess;
}

// Puts what a plan holds from `first` on into the world's order (A14); returns how many that are.
template <class Port>
template <class Record>
std::size_t Registrar<Port>::order(std::vector<Record*>& plan, std::size_t first) {
  const std::size_t count = plan.size() - first;
  const auto begin = plan.begin() + static_cast<std::ptrdiff_t>(first);
  if (world_.binding_order == BindingOrder::kLifo) {
    std::reverse(begin, plan.end());
  } else if (world_.binding_order == BindingOrder::kShuffled) {
    for (std::size_t left = count; left > 1; --left) {
      const std::uint32_t chosen = port_.decide(static_cast<std::uint32_t>(left), schedule::ChoiceKind::kWorld);
      std::swap(begin[static_cast<std::ptrdiff_t>(left - 1)], begin[static_cast<std::ptrdiff_t>(chosen)]);
    }
  }
  return count;
}

// From now on what the module handed over is in use, in place (A23). Its reuse while an earlier registration of it is not
// through is told to the rules: the module has not waited (R29).
template <class Port>
void Registrar<Port>::hold_data(Registration& registration) {
  const Characteristics& used = registration.characteristics;
  if (used.structure == nullptr) {
    return;  // a peer of the environment
  }
  registration.data = {port_.hold(used.structure), port_.hold(used.npi_id), port_.hold(used.module_id)};
  const std::uint32_t number = port_.number_of(used.structure);
  if (by_structure_.size() <= number) {
    by_structure_.resize(number + 1, nullptr);
  }
  const Registration* const before = std::exchange(by_structure_[number], &registration);
  if (before != nullptr && !is_live(*before) && before->state != RegistrationState::kClosed) {
    port_.breach(trace::Outcome::kCharacteristicsReused, registration);
  }
}

// Lists the live registrations of the opposite role, in the world's order; returns how many.
template <class Port>
std::size_t Registrar<Port>::plan_offers(const Registration& registration) {
  const std::size_t first = planned_offers_.size();
  Registration* other = npis_[registration.npi].first[index_of(opposite(registration.role))];
  for (; other != nullptr; other = other->next_of_npi) {
    if (is_live(*other)) {
      planned_offers_.push_back(other);
    }
  }
  return order(planned_offers_, first);
}

template <class Port>
void Registrar<Port>::offer_planned(Registration& registration, std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    Registration& other = *planned_offers_[i];
    Registration& client = registration.role == Role::kClient ? registration : other;
    Registration& provider = registration.role == Role::kClient ? other : registration;
    offer(client, provider);
  }
}

// What the handle names; nullptr and the reason if the call may not be made with it.
template <class Port>
Registration* Registrar<Port>::resolve_registration(Role role, void* handle, HandleState& state) {
  const HandleKind kind = kind_of_handle(handle);
  const ObjectNumber number = number_of_handle(handle);
  if (handle == nullptr) {
    state = HandleState::kNull;
  } else if (kind == HandleKind::kNone || number == 0 ||
             number > (kind == HandleKind::kBinding ? bindings_.size() : registrations_.size())) {
    state = HandleState::kUnknown;
  } else if (kind != handle_kind(role)) {
    state = HandleState::kWrongKind;
  } else if (registrations_[number - 1].module != port_.module()) {
    state = HandleState::kForeign;
  } else if (registrations_[number - 1].state == RegistrationState::kClosed) {
    state = HandleState::kStale;
    return &registrations_[number - 1];
  } else {
    state = HandleState::kValid;
    return &registrations_[number - 1];
  }
  return nullptr;
}

template <class Port>
Status Registrar<Port>::deregister(Role role, void* handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrDeregisterClient : Routine::NmrDeregisterProvider;
  port_.point(routine, number_of_handle(handle));
  Registration* registration = nullptr;
  std::size_t first = 0;
  std::size_t count = 0;
  Status status = kernel::kStatusPending;
  {
    const Locked locked(*this);
    HandleState state = HandleState::kValid;
    registration = resolve_registration(role, handle, state);
    if (state == HandleState::kValid && !is_live(*registration)) {
      state = HandleState::kWrongState;
    }
    const ObjectNumber number = registration != nullptr ? registration->number : 0;
    port_.emit(trace::EventKind::kDeregisterEnter, routine, number, 0, static_cast<std::uint64_t>(state), 0,
               port_.module());
    const bool injected = state == HandleState::kValid && !registration->error_injected &&
                          world_.deregister_error == DeregisterError::kInjectOnce;
    if (state != HandleState::kValid || injected) {
      status = injected ? kernel::kStatusInsufficientResources : kernel::kStatusInvalidParameter;
      if (injected) {
        registration->error_injected = true;
      }
      port_.emit(trace::EventKind::kDeregisterExit, routine, number, status, 0, 0, port_.module());
      return status;
    }
    move(*registration, RegistrationState::kDeregistering);
    ++registration->calls;
    first = planned_detaches_.size();
    count = plan_detaches(*registration);
    if (registration->bindings == 0 && registration->calls == 1 &&
        world_.deregister_status == DeregisterStatus::kSuccessWhenIdle) {
      status = kernel::kStatusSuccess;
    }
  }
  port_.point(routine, registration->number);
  detach_planned(*registration, first, count);
  {
    const Locked locked(*this);
    --registration->calls;
    port_.emit(trace::EventKind::kDeregisterExit, routine, registration->number, status, 0, 0, registration->module);
    leave_if_drained(*registration);
    if (status == kernel::kStatusSuccess) {
      close(*registration);
    }
  }
  port_.point(routine, registration->number);
  return status;
}

// Lists the bindings to detach, in the world's order, and begins their detach: of two deregistrations that meet at a
// binding, one begins it (G10). Bindings in the making detach when their attach has ended (G8).
template <class Port>
std::size_t Registrar<Port>::plan_detaches(Registration& registration) {
  const std::size_t first = planned_detaches_.size();
  const Role role = registration.role;
  for (Binding* binding = registration.first_binding; binding != nullptr; binding = binding->side(role).next) {
    if (begin_detach(*binding, role)) {
      planned_detaches_.push_back(binding);
    }
  }
  return order(planned_detaches_, first);
}

template <class Port>
void Registrar<Port>::detach_planned(Registration& registration, std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    Binding& binding = *planned_detaches_[i];
    const bool last = i + 1 == first + count;
    if (world_.detach_thread == DetachThread::kWorker ||
        (world_.detach_fanout == DetachFanout::kParallel && !last)) {
      start_job([](Registrar& self, const Job& job) { self.detach(*job.binding); }, binding, registration.role);
    } else {
      detach(binding);
    }
  }
}

template <class Port>
Status Registrar<Port>::wait_for_deregister(Role role, void* handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrWaitForClientDeregisterComplete
                                                : Routine::NmrWaitForProviderDeregisterComplete;
  port_.point(routine, number_of_handle(handle));
  HandleState state = HandleState::kValid;
  Registration* const registration = resolve_registration(role, handle, state);
  if (state == HandleState::kValid && is_live(*registration)) {
    state = HandleState::kWrongState;
  }
  const ObjectNumber number = registration != nullptr ? registration->number : 0;
  port_.emit(trace::EventKind::kWaitEnter, routine, number, 0, static_cast<std::uint64_t>(state),
             registration != nullptr ? registration->bindings : 0, port_.module());
  if (state != HandleState::kValid) {
    const bool tolerated = state == HandleState::kStale && world_.double_wait == DoubleWait::kTolerate;
    const Status status = tolerated ? kernel::kStatusSuccess : kernel::kStatusInvalidParameter;
    port_.emit(trace::EventKind::kWaitExit, routine, number, status, 0, 0, port_.module());
    return status;
  }
  for (;;) {
    run_deferred_cleanups(*registration);
    if (registration->state == RegistrationState::kDrained || registration->state == RegistrationState::kClosed) {
      break;
    }
    port_.park(registration->wait_object);
  }
  {
    const Locked locked(*this);
    if (registration->state == RegistrationState::kDrained) {  // else another waiter of the same handle was first
      close(*registration);
    }
    port_.emit(trace::EventKind::kWaitExit, routine, number, kernel::kStatusSuccess, 0, 0, registration->module);
  }
  port_.point(routine, number);
  return kernel::kStatusSuccess;
}

template <class Port>
void Registrar<Port>::run_deferred_cleanups(Registration& registration) {
  while (Binding* const binding = registration.deferred_cleanups) {
    registration.deferred_cleanups = binding->next_deferred;
    clean_up(*binding);
  }
}

// Drained: deregistering, no binding left, no Register or Deregister call at work on it (G20). The last step that the
// registrar takes with a registration is to wake its waiter (G21).
template <class Port>
void Registrar<Port>::leave_if_drained(Registration& registration) {
  if (registration.state == RegistrationState::kDeregistering && registration.bindings == 0 &&
      registration.calls == 0) {
    move(registration, RegistrationState::kDrained);
    port_.wake(registration.wait_object);
  }
}

template <class Port>
void Registrar<Port>::close(Registration& registration) {
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
