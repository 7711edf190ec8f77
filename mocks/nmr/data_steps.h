// data_steps.h - what modules hand over and NMR or the other side uses in place: held, compared, let go. Part of
// registrar.h.
#pragma once

#include <utility>

#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

// From now on what the module handed over is in use, in place (A23). Its reuse while an earlier registration of it is
// not through is told to the rules: the module has not waited (R29).
template <class Port>
void Registrar<Port>::hold_data(Registration& registration) {
  const Characteristics& used = registration.characteristics;
  if (used.structure == nullptr) {
    return;  // a peer of the environment
  }
  if (used.npi_id != nullptr) {
    RegisteredData& content = contents_.add_used();
    content.read(used.structure);
    registration.content = &content;
  }
  registration.data = {port_.hold(used.structure, kernel::kHeldStructure, registration.number),
                       port_.hold(used.npi_id, kernel::kHeldNpiId, registration.number),
                       port_.hold(used.module_id, kernel::kHeldModuleId, registration.number)};
  const std::uint32_t number = port_.number_of(used.structure);
  if (by_structure_.size() <= number) {
    by_structure_.resize(number + 1, nullptr);
  }
  const Registration* const before = std::exchange(by_structure_[number], &registration);
  if (before != nullptr && is_live(*before)) {
    port_.breach(trace::Outcome::kCharacteristicsShared, registration);
  } else if (before != nullptr && before->state != RegistrationState::kClosed) {
    port_.breach(trace::Outcome::kCharacteristicsReused, registration);
  }
  note_same_number(registration);
  note_overwritten_handle(registration);
}

// Two live registrations of one module, role and NPI that nothing tells apart (R7). Under the lock.
template <class Port>
void Registrar<Port>::note_same_number(const Registration& registration) {
  const Registration* const before = registration.content != nullptr ? registration.previous_of_npi : nullptr;
  for (const Registration* other = before; other != nullptr; other = other->previous_of_npi) {
    if (other->module == registration.module && is_live(*other) && other->content != nullptr &&
        registration.content->is_same_instance(*other->content)) {
      port_.breach(trace::Outcome::kSameNumber, registration);
      return;
    }
  }
}

// The handle is going to be stored where that of a live registration is (R28). Under the lock.
template <class Port>
void Registrar<Port>::note_overwritten_handle(Registration& registration) {
  const void* const variable = registration.characteristics.variable;
  if (variable == nullptr) {
    return;
  }
  Registration*& bucket = bucket_of_variable(variable);
  for (const Registration* other = bucket; other != nullptr; other = other->next_of_variable) {
    if (other->characteristics.variable == variable && is_live(*other)) {
      port_.breach(trace::Outcome::kHandleOverwritten, *other);
    }
  }
  registration.next_of_variable = std::exchange(bucket, &registration);
}

// At each offer and at the end of the registration (R13). Under the lock.
template <class Port>
void Registrar<Port>::check_content(const Registration& registration) {
  if (registration.content != nullptr && !registration.content->is_still_in(registration.characteristics.structure))
      [[unlikely]] {
    port_.breach(trace::Outcome::kCharacteristicsChanged, registration);
  }
}

// From now on each side may call through the other's table until it is detached itself (R41, R53). Under the lock.
template <class Port>
void Registrar<Port>::hold_dispatch(Binding& binding) {
  for (const Role role : {Role::kClient, Role::kProvider}) {
    Side& side = binding.side(role);
    if (side.registration->module != 0) {
      side.held_dispatch =
          port_.hold(side.dispatch, role == Role::kClient ? kernel::kHeldClientDispatch : kernel::kHeldProviderDispatch,
                     binding.number);
    }
  }
}

}  // namespace nmrfuzz::nmr
