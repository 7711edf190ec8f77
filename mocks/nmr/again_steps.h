// again_steps.h - refused pairs that are offered again when another registration of their NPI arrives. Part of
// registrar.h.
//
// Only in the world reoffer=on_new_registration (A12); everywhere else a pair is offered once (G26).
#pragma once

#include <utility>

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// Under the lock.
template <class Port>
void Registrar<Port>::remember_refusal(Binding& binding) {
  if (world_.reoffer == Reoffer::kOnNewRegistration && !is_mutant(Mutant::kNeverOffersAgain)) {
    Npi& npi = npis_[binding.registration(Role::kClient).npi];
    binding.next_refused = std::exchange(npi.first_refused, &binding);
  }
}

// Lists the refused pairs that the arrival of `registration` gives another chance, in the world's order; returns how
// many. A pair is on the list of one arrival only. Under the lock.
template <class Port>
std::size_t Registrar<Port>::plan_again(const Registration& registration) {
  const std::size_t first = planned_again_.size();
  Binding* refused = std::exchange(npis_[registration.npi].first_refused, nullptr);
  for (; refused != nullptr; refused = refused->next_refused) {
    if (is_live(refused->registration(Role::kClient)) && is_live(refused->registration(Role::kProvider))) {
      planned_again_.push_back(refused);
    }
  }
  return order(planned_again_, first);
}

template <class Port>
void Registrar<Port>::offer_again(std::size_t first, std::size_t count) {
  for (std::size_t i = first; i < first + count; ++i) {
    Binding& refused = planned(planned_again_, i);
    offer(refused.registration(Role::kClient), refused.registration(Role::kProvider));
  }
}

}  // namespace nmrfuzz::nmr
