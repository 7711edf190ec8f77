// scenario_mutation.h - a scenario that differs from a known one in one thing.
#pragma once

#include "fuzz/scenario.h"
#include "fuzz/scenario_codec.h"
#include "schedule/random_bits.h"

namespace nmrfuzz::fuzz {

// Changes one thing of `scenario`, drawn from `bits` within `limits`: a switch of the world, which calls fail, a
// module's unload, a field of a peer, a peer more or less. The result is one for `shape`, as `scenario` was before, and
// may by chance be the same. REQUIRES: `scenario` is one for `shape`.
void mutate_scenario(schedule::RandomBits& bits, const ScenarioLimits& limits, const ScenarioShape& shape,
                     Scenario& scenario);

}  // namespace nmrfuzz::fuzz
