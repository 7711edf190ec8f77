#include "fuzz/scenario.h"

#include <fmt/core.h>

namespace nmrfuzz::fuzz {

namespace {

std::optional<std::string> wrong_with(const FaultPlan& faults) {
  const bool planned = faults.mode == FaultMode::kPlanned;
  if (planned != (faults.calls[0] != 0)) {
    return "the first call that fails is named if and only if failures are planned";
  }
  if (faults.calls[1] != 0 && faults.calls[1] <= faults.calls[0]) {
    return "the calls that fail are in ascending order";
  }
  return std::nullopt;
}

std::optional<std::string> wrong_with(const ModulePlan& module) {
  const bool soon = module.moment == UnloadMoment::kSoon;
  if (soon ? module.steps < 1 || module.steps > ModulePlan::kSoonMaximum : module.steps != 0) {
    return fmt::format("unload comes soon after 1 to {} steps, else after none", ModulePlan::kSoonMaximum);
  }
  if (module.lives < 1 || module.lives > ModulePlan::kLivesMaximum) {
    return fmt::format("a module has 1 to {} lives", ModulePlan::kLivesMaximum);
  }
  return std::nullopt;
}

std::optional<std::string> wrong_with(const PeerPlan& peer) {
  const peers::BehaviourValues values = peers::values_of(peer.behaviour);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const peers::BehaviourField& field = peers::kBehaviourFields[i];
    if (values[i] >= field.alternatives.size()) {
      return fmt::format("a peer's {} is one of {} alternatives", field.name, field.alternatives.size());
    }
    if (values[i] != 0 && !field.applies(values)) {
      return fmt::format("a peer's {} is for one that departs before the module is gone", field.name);
    }
  }
  return std::nullopt;
}

std::optional<std::string> wrong_with(const std::vector<std::uint32_t>& preemptions) {
  if (preemptions.size() > Scenario::kPreemptionsMaximum) {
    return fmt::format("more than {} preemptions", Scenario::kPreemptionsMaximum);
  }
  std::uint32_t previous = 0;
  for (const std::uint32_t ordinal : preemptions) {
    if (ordinal <= previous || ordinal > Scenario::kOrdinalMaximum) {
      return fmt::format("preempted accesses are from 1 to {}, in ascending order", Scenario::kOrdinalMaximum);
    }
    previous = ordinal;
  }
  return std::nullopt;
}

}  // namespace

Scenario plain_scenario(const ScenarioShape& shape) {
  Scenario plain;
  plain.modules.resize(shape.modules);
  for (std::uint32_t npi = 1; npi <= shape.npis; ++npi) {
    plain.peers.push_back({npi, {}});
  }
  return plain;
}

std::optional<std::string> wrong_with(const Scenario& scenario, const ScenarioShape& shape) {
  if (auto wrong = wrong_with(scenario.faults)) {
    return wrong;
  }
  if (scenario.modules.size() != shape.modules) {
    return fmt::format("{} modules unload, expected {}", scenario.modules.size(), shape.modules);
  }
  for (const ModulePlan& module : scenario.modules) {
    if (auto wrong = wrong_with(module)) {
      return wrong;
    }
  }
  if (auto wrong = wrong_with(scenario.preemptions)) {
    return wrong;
  }
  std::uint32_t npi = 1;
  std::uint32_t count = 0;
  for (const PeerPlan& peer : scenario.peers) {
    if (peer.npi < npi || peer.npi > shape.npis) {
      return fmt::format("a peer for NPI {}, expected NPIs from 1 to {} in ascending order", peer.npi, shape.npis);
    }
    count = peer.npi == npi ? count + 1 : 1;
    npi = peer.npi;
    if (count > Scenario::kPeersPerNpi) {
      return fmt::format("more than {} peers for NPI {}", Scenario::kPeersPerNpi, npi);
    }
    if (auto wrong = wrong_with(peer)) {
      return wrong;
    }
  }
  return std::nullopt;
}

Scenario fitted(const Scenario& scenario, const ScenarioShape& shape) {
  Scenario fitting = scenario;
  fitting.modules.resize(shape.modules);
  std::erase_if(fitting.peers, [&shape](const PeerPlan& peer) { return peer.npi > shape.npis; });
  return fitting;
}

}  // namespace nmrfuzz::fuzz
