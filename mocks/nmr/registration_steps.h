// registration_steps.h - Register and Deregister. Part of registrar.h.
#pragma once

#include <algorithm>
#include <utility>

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

template <class Port>
void Registrar<Port>::reset(const World& world) {
  world_ = world;
  for (std::size_t i = 0; i < registrations_.size(); ++i) {
    if (const void* const variable = registrations_[i].characteristics.variable; variable != nullptr) {
      bucket_of_variable(variable) = nullptr;
    }
  }
  registrations_.clear();
  bindings_.clear();
  contents_.clear();
  jobs_.clear();
  for (std::size_t i = 0; i < npis_.size(); ++i) {
    buckets_[bucket_of(npis_[i].id)] = nullptr;
  }
  npis_.clear();
  by_structure_.clear();
  planned_offers_.clear();
  planned_detaches_.clear();
  planned_again_.clear();
}

// Under the lock, as are all three.
template <class Port>
void Registrar<Port>::move(Registration& registration, RegistrationState to) {
  require(may_move(registration.state, to));
  port_.emit(trace::EventKind::kRegistrationState, Routine::kNone, registration.number, 0,
             static_cast<std::uint64_t>(registration.state), static_cast<std::uint64_t>(to), registration.module);
  registration.state = to;
}

// Under the lock.
template <class Port>
std::uint32_t Registrar<Port>::npi_index(const std::array<std::uint64_t, 2>& id) {
  for (std::size_t i = 0; i < npis_.size() && is_mutant(Mutant::kComparesHalfTheGuid); ++i) {
    if (npis_[i].id[0] == id[0]) {
      return static_cast<std::uint32_t>(i);
    }
  }
  Npi*& bucket = buckets_[bucket_of(id)];
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

// Under the lock.
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

// Makes a registration visible to pairing. Under the lock.
template <class Port>
void Registrar<Port>::show(Registration& registration) {
  Npi& npi = npis_[registration.npi];
  const std::size_t role = index_of(registration.role);
  registration.previous_of_npi = npi.last[role];
  (npi.last[role] != nullptr ? npi.last[role]->next_of_npi : npi.first[role]) = &registration;
  npi.last[role] = &registration;
}

// A failed Register leaves no registration and starts no callback (G24).
template <class Port>
Status Registrar<Port>::fail_register(Routine routine, Role role, const Characteristics& characteristics, void* context,
                                      void** handle, Status status) {
  const Locked locked(*this);
  Registration& failed = add_registration(role, characteristics, context);
  port_.emit(trace::EventKind::kRegisterEnter, routine, failed.number, characteristics.callbacks.cleanup != nullptr,
             failed.npi + 1, port_.number_of(context), failed.module);
  if (is_mutant(Mutant::kShowsFailedRegistration)) {
    failed.state = RegistrationState::kActive;
    show(failed);
  }
  switch (world_.fail_out) {
    case FailOut::kUntouched:
      break;
    case FailOut::kNull:
      *handle = nullptr;
      break;
    case FailOut::kPoison:
      *handle = kPoisonedHandle;
      break;
  }
  port_.emit(trace::EventKind::kRegisterExit, routine, failed.number, status,
             status == kernel::kStatusInsufficientResources ? 1 : 0, 0, failed.module);
  return status;
}

// Enters a registration and plans its offers. Both are one step with becoming visible: of two registrations that arrive
// together, the later one offers the pair, and only that one (G1).
template <class Port>
auto Registrar<Port>::begin_register(Routine routine, Role role, const Characteristics& characteristics, void* context)
    -> Arrival {
  const Locked locked(*this);
  Registration& added = add_registration(role, characteristics, context);
  port_.emit(trace::EventKind::kRegisterEnter, routine, added.number, characteristics.callbacks.cleanup != nullptr,
             added.npi + 1, port_.number_of(context), added.module);
  Arrival arrival{&added, planned_offers_.size(), plan_offers(added), planned_again_.size(), 0};
  arrival.count_again = plan_again(added);
  if (is_mutant(Mutant::kPlansBeforeVisible)) {
    port_.unlock();
    port_.point(routine, added.number);
    port_.lock();
  }
  show(added);
  move(added, RegistrationState::kRegistering);
  ++added.calls;
  hold_data(added);
  return arrival;
}

template <class Port>
Status Registrar<Port>::end_register(Routine routine, const Arrival& arrival) {
  const Locked locked(*this);
  Registration& added = *arrival.registration;
  Status status = kernel::kStatusSuccess;
  if (arrival.count != 0 && added.bindings == 0 && is_mutant(Mutant::kFailsWithItsOffer)) {
    status = kernel::kStatusNoInterface;
  }
  if (added.state == RegistrationState::kRegistering) {
    move(added, RegistrationState::kActive);
  }
  --added.calls;
  port_.emit(trace::EventKind::kRegisterExit, routine, added.number, status, 0, 0, added.module);
  leave_if_drained(added);
  return status;
}

template <class Port>
Status Registrar<Port>::register_module(Role role, const Characteristics& characteristics, void* context,
                                        void** handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrRegisterClient : Routine::NmrRegisterProvider;
  port_.point(routine, 0);
  if (world_.check_sizes == CheckSizes::kRefuse && !characteristics.sizes_are_right &&
      !is_mutant(Mutant::kTakesWrongSizes)) {  // A21
    return fail_register(routine, role, characteristics, context, handle, kernel::kStatusInvalidParameter);
  }
  if (port_.fails(routine)) {
    return fail_register(routine, role, characteristics, context, handle, kernel::kStatusInsufficientResources);
  }
  const Arrival arrival = begin_register(routine, role, characteristics, context);
  Registration& added = *arrival.registration;
  if (world_.handle_store == HandleStore::kBeforeOffers) {
    *handle = make_handle(handle_kind(role), added.number);
  }
  port_.point(routine, added.number);
  offer_planned(added, arrival.first, arrival.count);
  offer_again(arrival.first_again, arrival.count_again);
  if (world_.handle_store == HandleStore::kAfterOffers) {
    *handle = make_handle(handle_kind(role), added.number);
  }
  const Status status = end_register(routine, arrival);
  port_.point(routine, added.number);
  return status;
}

// Puts what a plan holds from `first` on into the world's order (A14); returns how many that are. Under the lock.
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

// Lists the live registrations of the opposite role, in the world's order; returns how many. Under the lock.
template <class Port>
std::size_t Registrar<Port>::plan_offers(const Registration& registration) {
  const std::size_t first = planned_offers_.size();
  Registration* other = npis_[registration.npi].first[index_of(opposite(registration.role))];
  for (; other != nullptr; other = other->next_of_npi) {
    if (is_live(*other) && !(other->module == registration.module && is_mutant(Mutant::kSkipsOwnModule))) {
      planned_offers_.push_back(other);
    }
  }
  if (is_mutant(Mutant::kLosesLastPair) && planned_offers_.size() > first + 1) {
    planned_offers_.pop_back();
  }
  return order(planned_offers_, first);
}

// Other calls append to the plan meanwhile, and may move it.
template <class Port>
template <class Record>
Record& Registrar<Port>::planned(const std::vector<Record*>& plan, std::size_t index) {
  const Locked locked(*this);
  return *plan[index];
}

template <class Port>
void Registrar<Port>::offer_planned(Registration& registration, std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    Registration& other = planned(planned_offers_, i);
    Registration& client = registration.role == Role::kClient ? registration : other;
    Registration& provider = registration.role == Role::kClient ? other : registration;
    const Binding* const offered = offer(client, provider);
    const bool refused = offered != nullptr && offered->state == BindingState::kGone;
    if (is_mutant(Mutant::kOffersTwice) || (refused && is_mutant(Mutant::kOffersAgainAfterRefusal))) {
      offer(client, provider);
    }
  }
}

template <class Port>
Status Registrar<Port>::deregister(Role role, void* handle) {
  const Routine routine = role == Role::kClient ? Routine::NmrDeregisterClient : Routine::NmrDeregisterProvider;
  port_.point(routine, number_of_handle(handle));
  Registration* registration = nullptr;
  std::size_t first = 0;
  std::size_t count = 0;
  const Status status = begin_deregister(role, handle, registration, first, count);
  if (registration == nullptr) {
    return status;
  }
  port_.point(routine, registration->number);
  detach_planned(*registration, first, count);
  detach_late(*registration);
  {
    const Locked locked(*this);
    while (registration->bindings != 0 && is_mutant(Mutant::kDeregisterWaits)) {
      port_.park(registration->wait_object);
    }
    --registration->calls;
    leave_if_drained(*registration);
    if (status == kernel::kStatusSuccess) {
      registration->closed_when_idle = true;
      close(*registration);
    }
    port_.emit(trace::EventKind::kDeregisterExit, routine, registration->number, status, 0, 0, registration->module);
  }
  port_.point(routine, registration->number);
  return status;
}

// The registration and the plan of what to detach; no registration, and the status, if the call ends here.
template <class Port>
Status Registrar<Port>::begin_deregister(Role role, void* handle, Registration*& registration, std::size_t& first,
                                         std::size_t& count) {
  const Routine routine = role == Role::kClient ? Routine::NmrDeregisterClient : Routine::NmrDeregisterProvider;
  const Locked locked(*this);
  HandleState state = HandleState::kValid;
  Registration* const named = resolve_registration(role, handle, state);
  if (state == HandleState::kValid && !is_live(*named)) {
    state = HandleState::kWrongState;
  }
  const ObjectNumber number = named != nullptr ? named->number : 0;
  port_.emit(trace::EventKind::kDeregisterEnter, routine, number, 0, static_cast<std::uint64_t>(state),
             handle == kPoisonedHandle ? 1 : 0, port_.module());
  Status error = state != HandleState::kValid ? kernel::kStatusInvalidParameter : kernel::kStatusSuccess;
  const bool may_fail =
      world_.deregister_error == DeregisterError::kInjectOnce || is_mutant(Mutant::kFailsEachDeregister);
  if (state == HandleState::kValid && may_fail && !std::exchange(named->error_injected, true)) {
    error = kernel::kStatusInsufficientResources;
  }
  if (error != kernel::kStatusSuccess) {
    port_.emit(trace::EventKind::kDeregisterExit, routine, number, error, 0, 0, port_.module());
    return error;
  }
  registration = named;
  move(*named, RegistrationState::kDeregistering);
  ++named->calls;
  named->takes_late_detaches = world_.late_detach_thread == LateDetachThread::kDeregisterer;
  first = planned_detaches_.size();
  count = plan_detaches(*named);
  const bool idle = named->bindings == 0 && named->calls == 1;
  return idle && world_.deregister_status == DeregisterStatus::kSuccessWhenIdle ? kernel::kStatusSuccess
                                                                                : kernel::kStatusPending;
}

// Lists the bindings to detach, in the world's order, and begins their detach: of two deregistrations that meet at a
// binding, one begins it (G10). Bindings in the making detach when their attach has ended (G8). Under the lock.
template <class Port>
std::size_t Registrar<Port>::plan_detaches(Registration& registration) {
  const std::size_t first = planned_detaches_.size();
  const Role role = registration.role;
  for (Binding* binding = registration.first_binding; binding != nullptr; binding = binding->side(role).next) {
    if (begin_detach(*binding, role)) {
      planned_detaches_.push_back(binding);
    }
  }
  mutate_plan(registration);
  return order(planned_detaches_, first);
}

// What a deregistration must not do: reach beyond its own registration (G12, G29).
template <class Port>
void Registrar<Port>::mutate_plan(const Registration& leaving) {
  if (is_mutant(Mutant::kDetachesWholeModule) || is_mutant(Mutant::kPeerLeavesToo)) {
    for (std::size_t i = 0; i < registrations_.size(); ++i) {
      Registration& other = registrations_[i];
      if (other.module == leaving.module && is_mutant(Mutant::kDetachesWholeModule)) {
        for (Binding* binding = other.first_binding; binding != nullptr; binding = binding->side(other.role).next) {
          if (begin_detach(*binding, other.role)) {
            planned_detaches_.push_back(binding);
          }
        }
      }
      if (is_live(other) && other.npi == leaving.npi && is_mutant(Mutant::kPeerLeavesToo)) {
        move(other, RegistrationState::kDeregistering);
      }
    }
  }
}

template <class Port>
void Registrar<Port>::detach_planned(Registration& registration, std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    Binding& binding = planned(planned_detaches_, i);
    const bool last = i + 1 == first + count;
    if (world_.detach_thread == DetachThread::kWorker || (world_.detach_fanout == DetachFanout::kParallel && !last)) {
      start_job([](Registrar& self, const Job& job) { self.detach(*job.binding); }, binding, registration.role);
    } else {
      detach(binding);
    }
  }
}

}  // namespace nmrfuzz::nmr
