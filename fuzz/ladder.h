// ladder.h - the scenarios with which a hunt begins: each single oddity once, everything else plain.
//
// A budget's first schedules climb it: each moment of unload, each behaviour of peers, each lawful variant of each
// world switch, each call that can be made to fail. What needs only one of them is found in so many schedules.
#pragma once

#include <cstddef>
#include <vector>

#include "fuzz/scenario.h"
#include "fuzz/scenario_codec.h"

namespace nmrfuzz::fuzz {

// Single failures beyond so many calls are left to the strategies (and to `--faults sweep`).
inline constexpr std::uint32_t kLadderCallsMaximum = 64;

// In the order in which they are climbed; none where each NPI is to have one peer.
std::vector<Scenario> make_ladder(const ScenarioLimits& limits, const ScenarioShape& shape);

}  // namespace nmrfuzz::fuzz
