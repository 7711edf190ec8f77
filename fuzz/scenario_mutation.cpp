#include "fuzz/scenario_mutation.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace nmrfuzz::fuzz {

namespace {

using schedule::RandomBits;

class Mutation {
 public:
  Mutation(RandomBits& bits, const ScenarioLimits& limits, const ScenarioShape& shape, Scenario& scenario)
      : bits_(bits), limits_(limits), shape_(shape), scenario_(scenario) {}

  void run() {
    // What peers do matters most, so it is changed most.
    constexpr Change kChanges[] = {&Mutation::world,      &Mutation::faults,      &Mutation::unload,
                                   &Mutation::behaviour,  &Mutation::behaviour,   &Mutation::behaviour,
                                   &Mutation::peer_added, &Mutation::peer_removed};
    constexpr int kAttempts = 8;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      if ((this->*kChanges[bits_.below(std::size(kChanges))])()) {
        return;
      }
    }
  }

 private:
  // Whether there was something of that sort to change.
  using Change = bool (Mutation::*)();

  bool world() {
    if (!limits_.any_world) {
      return false;
    }
    const auto switches = nmr::switches();
    const nmr::Switch& chosen = switches[bits_.below(static_cast<std::uint32_t>(switches.size()))];
    const std::uint32_t variant = bits_.below(static_cast<std::uint32_t>(chosen.variants.size()));
    if (variant != 0 && !chosen.variants[variant].drawn) {
      return false;
    }
    chosen.field(scenario_.world) = static_cast<std::uint8_t>(variant);
    return true;
  }

  bool faults() {
    if (!limits_.faults) {
      return false;
    }
    constexpr std::uint32_t kModes = 3;
    constexpr std::uint16_t kMost = std::numeric_limits<std::uint16_t>::max();
    FaultPlan& plan = scenario_.faults;
    // Changed sources may make one call more or less before the one that fails.
    if (plan.mode == FaultMode::kPlanned && bits_.below(2) == 0) {
      const bool later = plan.calls[0] == 1 || bits_.below(2) == 0;
      plan = {FaultMode::kPlanned, {static_cast<std::uint16_t>(later ? plan.calls[0] % kMost + 1 : plan.calls[0] - 1)}};
      return true;
    }
    plan = {static_cast<FaultMode>(bits_.below(kModes)), {}};
    if (plan.mode == FaultMode::kPlanned) {
      plan.calls[0] = static_cast<std::uint16_t>(1 + bits_.below(std::max(1U, limits_.fallible_calls)));
    }
    return true;
  }

  bool unload() {
    constexpr std::uint32_t kMoments = 3;
    ModulePlan& plan = scenario_.modules[bits_.below(static_cast<std::uint32_t>(scenario_.modules.size()))];
    if (bits_.below(4) == 0) {
      plan.lives = static_cast<std::uint8_t>(1 + bits_.below(ModulePlan::kLivesMaximum));
      return true;
    }
    plan.moment = static_cast<UnloadMoment>(bits_.below(kMoments));
    plan.steps = plan.moment == UnloadMoment::kSoon
                     ? static_cast<std::uint8_t>(1 + bits_.below(ModulePlan::kSoonMaximum))
                     : std::uint8_t{0};
    return true;
  }

  bool behaviour() {
    if (scenario_.peers.empty()) {
      return false;
    }
    PeerPlan& peer = scenario_.peers[bits_.below(static_cast<std::uint32_t>(scenario_.peers.size()))];
    peers::BehaviourValues values = peers::values_of(peer.behaviour);
    const std::uint32_t chosen = bits_.below(static_cast<std::uint32_t>(values.size()));
    const peers::BehaviourField& field = peers::kBehaviourFields[chosen];
    if (!field.applies(values)) {
      return false;
    }
    values[chosen] = static_cast<std::uint8_t>(bits_.below(static_cast<std::uint32_t>(field.alternatives.size())));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = peers::kBehaviourFields[i].applies(values) ? values[i] : std::uint8_t{0};
    }
    peer.behaviour = peers::behaviour_of(values);
    return true;
  }

  bool peer_added() {
    if (limits_.one_peer || shape_.npis == 0) {
      return false;
    }
    const std::uint32_t npi = 1 + bits_.below(shape_.npis);
    const auto same = [npi](const PeerPlan& peer) { return peer.npi == npi; };
    if (std::count_if(scenario_.peers.begin(), scenario_.peers.end(), same) >= std::int64_t{Scenario::kPeersPerNpi}) {
      return false;
    }
    const auto behind = std::find_if(scenario_.peers.begin(), scenario_.peers.end(),
                                     [npi](const PeerPlan& peer) { return peer.npi > npi; });
    scenario_.peers.insert(behind, {npi, {}});
    return true;
  }

  bool peer_removed() {
    if (limits_.one_peer || scenario_.peers.empty()) {
      return false;
    }
    scenario_.peers.erase(scenario_.peers.begin() + bits_.below(static_cast<std::uint32_t>(scenario_.peers.size())));
    return true;
  }

  RandomBits& bits_;
  const ScenarioLimits& limits_;
  const ScenarioShape& shape_;
  Scenario& scenario_;
};

}  // namespace

void mutate_scenario(RandomBits& bits, const ScenarioLimits& limits, const ScenarioShape& shape, Scenario& scenario) {
  Mutation(bits, limits, shape, scenario).run();
}

}  // namespace nmrfuzz::fuzz
