// scenario_codec.h - scenarios drawn from a strategy, as numbers, and as bytes.
//
// All three walk over the fields in one order (scenario_codec.cpp), so none can know a field that another does not.
// Thread safety: none is needed; no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fuzz/scenario.h"
#include "schedule/strategy.h"

namespace nmrfuzz::fuzz {

// Within what a scenario is drawn.
struct ScenarioLimits {
  bool any_world = true;  // each draws its world among the lawful variants; else `world` holds
  nmr::World world;
  bool faults = true;
  bool one_peer = false;             // for each NPI, and no ladder; else their number is drawn
  std::uint32_t fallible_calls = 0;  // of the probe: which single calls can be made to fail
  std::uint32_t accesses = 0;        // likewise: within which a thread is preempted; 0: at none

  // That of a scenario in which nothing is odd.
  nmr::World plain_world() const { return any_world ? nmr::World{} : world; }
};

// A scenario that `strategy` decides; a strategy that always answers "the first alternative" makes the plain one in
// the windows world. Writes over `scenario`, so that no memory is taken once it has had as many peers before.
void draw_scenario(schedule::Strategy& strategy, const ScenarioLimits& limits, const ScenarioShape& shape,
                   Scenario& scenario);

// Writes the scenario, with its shape, as numbers. Returns how many they are; if that is more than `room`, only the
// first of them are written. REQUIRES: the scenario is one for `shape`.
std::size_t encode_scenario(const Scenario& scenario, const ScenarioShape& shape, std::span<std::uint16_t> room);
// What the first of `numbers` encode; `used` is how many these are. nullopt if they encode no scenario.
std::optional<ShapedScenario> decode_scenario(std::span<const std::uint16_t> numbers, std::size_t& used);

// For fuzzers. Any bytes are a scenario in a lawful world: what is missing is plain, what is too large is taken modulo.
// Of a scenario in a lawful world, decoding the encoding gives the scenario back.
std::vector<std::uint8_t> scenario_to_bytes(const Scenario& scenario, const ScenarioShape& shape);
Scenario scenario_from_bytes(std::span<const std::uint8_t> bytes, const ScenarioShape& shape, std::size_t& used);

}  // namespace nmrfuzz::fuzz
