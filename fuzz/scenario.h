// scenario.h - what one execution is about, besides the order of its threads: world, failures, unload, peers.
//
// One typed description, with four forms that scenario_codec.h and scenario_text.h derive from the same tables: drawn
// from a strategy, numbers in front of the decision log, bytes for a fuzzer, lines of a reproducer.
// Plain data; copy freely.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nmr/world.h"
#include "peers/behaviour.h"

namespace nmrfuzz::fuzz {

// What a scenario is for: how many NPIs of the modules have peers, and how many modules there are.
struct ScenarioShape {
  std::uint32_t npis = 0;
  std::uint32_t modules = 1;

  static constexpr std::uint32_t kNpisMaximum = 512;
  static constexpr std::uint32_t kModulesMaximum = 16;

  bool operator==(const ScenarioShape&) const = default;
};

// When a module that has loaded is unloaded.
enum class UnloadMoment : std::uint8_t { kAtRest, kAtOnce, kSoon };

struct ModulePlan {
  UnloadMoment moment = UnloadMoment::kAtRest;
  std::uint8_t steps = 0;  // kSoon: scheduling points in between, 1 to kSoonMaximum; else 0
  std::uint8_t lives = 1;  // how often it is loaded, where it can be loaded again; at most kLivesMaximum

  static constexpr std::uint8_t kSoonMaximum = 32;
  static constexpr std::uint8_t kLivesMaximum = 3;
  bool operator==(const ModulePlan&) const = default;
};

enum class FaultMode : std::uint8_t { kNone, kDrawn, kPlanned };

// Which calls fail, of those that the modules make to routines that can.
struct FaultPlan {
  FaultMode mode = FaultMode::kNone;
  // kPlanned: their numbers, counted from 1 in the order in which they are made; ascending, 0 for no second one.
  std::array<std::uint16_t, 2> calls{};

  bool operator==(const FaultPlan&) const = default;
};

// A peer for one NPI.
struct PeerPlan {
  std::uint32_t npi = 1;  // counted from 1 in the order in which the probe learned them
  peers::Behaviour behaviour;

  bool operator==(const PeerPlan&) const = default;
};

struct Scenario {
  nmr::World world;
  FaultPlan faults;
  std::vector<ModulePlan> modules;  // one for each
  // At which accesses of the modules (their ordinals, race/accesses.h) the running thread is preempted; ascending.
  std::vector<std::uint32_t> preemptions;
  std::vector<PeerPlan> peers;  // by NPI, ascending; at most kPeersPerNpi for each

  static constexpr std::uint32_t kPeersPerNpi = 8;
  static constexpr std::uint32_t kPreemptionsMaximum = 8;
  static constexpr std::uint32_t kOrdinalMaximum = (1U << 24) - 1;
  bool operator==(const Scenario&) const = default;
};

// A scenario and what it is for.
struct ShapedScenario {
  ScenarioShape shape{0, 0};
  Scenario scenario;

  bool operator==(const ShapedScenario&) const = default;
};

// The plainest scenario: the windows world, no failure, unload at rest, one peer for each NPI that makes no trouble.
Scenario plain_scenario(const ScenarioShape& shape);

// What makes `scenario` none for `shape`; nothing if it is one.
std::optional<std::string> wrong_with(const Scenario& scenario, const ScenarioShape& shape);

// As much of `scenario` as modules of another shape can have: peers of NPIs that they have, plain unloads for the rest.
Scenario fitted(const Scenario& scenario, const ScenarioShape& shape);

}  // namespace nmrfuzz::fuzz
