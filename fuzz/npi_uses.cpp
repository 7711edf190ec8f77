#include "fuzz/npi_uses.h"

#include <algorithm>
#include <tuple>

#include "fuzz/scenario.h"

namespace nmrfuzz::fuzz {

namespace {

bool is_before(const peers::NpiUse& left, const peers::NpiUse& right) {
  return std::tie(left.id, left.role) < std::tie(right.id, right.role);
}

}  // namespace

bool NpiUses::knows(const peers::NpiUse& use) const {
  return std::binary_search(all_.begin(), all_.end(), use, is_before);
}

bool NpiUses::learn(const nmr::FiberRegistrar& registrar) {
  const std::size_t before = all_.size();
  for (trace::ObjectNumber number = 1; number <= registrar.registrations(); ++number) {
    const nmr::Registration& registration = registrar.registration(number);
    const peers::NpiUse use{registration.characteristics.npi, registration.role};
    if (registration.module != 0 && !knows(use)) {
      all_.insert(std::upper_bound(all_.begin(), all_.end(), use, is_before), use);
      order_.push_back(use);
      provided_ += use.role == nmr::Role::kProvider ? 1 : 0;
    }
  }
  peered_.clear();
  for (const peers::NpiUse& use : order_) {
    if (!knows({use.id, opposite(use.role)}) && peered_.size() < ScenarioShape::kNpisMaximum) {
      peered_.push_back(use);
    }
  }
  return all_.size() != before;
}

}  // namespace nmrfuzz::fuzz
