// npi_uses.h - which NPIs the modules under test use, as executions have shown, and which of them get peers.
//
// Thread safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nmr/fiber_port.h"
#include "peers/peers.h"

namespace nmrfuzz::fuzz {

class NpiUses {
 public:
  // Adds what modules registered in the execution that `registrar` has just played; whether there was anything new.
  bool learn(const nmr::FiberRegistrar& registrar);

  std::uint32_t provided() const { return provided_; }
  std::uint32_t consumed() const { return static_cast<std::uint32_t>(all_.size()) - provided_; }
  // Those with peers, in the order of their first registration: NPIs that the modules use in both roles need none, and
  // those beyond ScenarioShape::kNpisMaximum get none.
  std::span<const peers::NpiUse> peered() const { return peered_; }

 private:
  bool knows(const peers::NpiUse& use) const;

  std::vector<peers::NpiUse> all_;  // sorted
  std::vector<peers::NpiUse> order_;
  std::vector<peers::NpiUse> peered_;
  std::uint32_t provided_ = 0;
};

}  // namespace nmrfuzz::fuzz
