#include "fuzz/ladder.h"

#include <algorithm>

namespace nmrfuzz::fuzz {

namespace {

class Builder {
 public:
  Builder(const ScenarioLimits& limits, const ScenarioShape& shape) : limits_(limits), shape_(shape) {}

  std::vector<Scenario> build() {
    moments();
    crowds();
    behaviours();
    if (limits_.any_world) {
      worlds();
    }
    if (limits_.faults) {
      failures();
    }
    return std::move(rungs_);
  }

 private:
  Scenario& add() {
    Scenario& added = rungs_.emplace_back(plain_scenario(shape_));
    added.world = limits_.plain_world();
    return added;
  }

  // Of unload; and several lives.
  void moments() {
    constexpr std::uint8_t kFewSteps = 4;
    for (const ModulePlan plan :
         {ModulePlan{}, ModulePlan{UnloadMoment::kAtOnce, 0, 1}, ModulePlan{UnloadMoment::kSoon, kFewSteps, 1},
          ModulePlan{UnloadMoment::kAtRest, 0, ModulePlan::kLivesMaximum}}) {
      std::ranges::fill(add().modules, plan);
    }
  }

  // Nobody, and two for each NPI.
  void crowds() {
    add().peers.clear();
    std::vector<PeerPlan>& peers = add().peers;
    peers.clear();
    for (std::uint32_t npi = 1; npi <= shape_.npis; ++npi) {
      peers.insert(peers.end(), 2, {npi, {}});
    }
  }

  // All peers alike: with many NPIs, too, the number of rungs stays what it is.
  void behaviours() {
    for (std::size_t i = 0; i < peers::kBehaviourFields.size(); ++i) {
      const peers::BehaviourField& field = peers::kBehaviourFields[i];
      for (std::size_t value = 1; value < field.alternatives.size(); ++value) {
        peers::Behaviour base;
        if (field.only_if_it_departs) {
          base.departure = peers::Departure::kAtOnce;
        }
        peers::BehaviourValues values = peers::values_of(base);
        values[i] = static_cast<std::uint8_t>(value);
        peers::Behaviour behaviour = peers::behaviour_of(values);
        if (behaviour.first_detach != peers::Detach::kSucceed) {
          behaviour.later_detach = behaviour.first_detach;
        }
        for (PeerPlan& peer : add().peers) {
          peer.behaviour = behaviour;
        }
      }
    }
  }

  // With detaches that pend: most switches matter only then.
  void worlds() {
    for (const nmr::Switch& each : nmr::switches()) {
      for (std::size_t variant = 1; variant < each.variants.size(); ++variant) {
        if (!each.variants[variant].drawn) {
          continue;
        }
        Scenario& scenario = add();
        each.field(scenario.world) = static_cast<std::uint8_t>(variant);
        for (PeerPlan& peer : scenario.peers) {
          peer.behaviour.first_detach = peers::Detach::kCompleteFromThread;
          peer.behaviour.later_detach = peers::Detach::kCompleteFromThread;
        }
      }
    }
  }

  void failures() {
    const std::uint32_t calls = std::min(limits_.fallible_calls, kLadderCallsMaximum);
    for (std::uint32_t call = 1; call <= calls; ++call) {
      add().faults = {FaultMode::kPlanned, {static_cast<std::uint16_t>(call), 0}};
    }
  }

  const ScenarioLimits& limits_;
  const ScenarioShape& shape_;
  std::vector<Scenario> rungs_;
};

}  // namespace

std::vector<Scenario> make_ladder(const ScenarioLimits& limits, const ScenarioShape& shape) {
  return limits.one_peer ? std::vector<Scenario>{} : Builder(limits, shape).build();
}

}  // namespace nmrfuzz::fuzz
