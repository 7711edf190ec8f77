// exploration.h - what each schedule of a hunt runs: its scenario, its strategy and its seed.
//
// A function of the hunt's seed and the schedule's number alone, so that it is the same whoever runs the schedule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/engine.h"
#include "fuzz/ladder.h"
#include "fuzz/strategies.h"

namespace nmrfuzz::fuzz {

class Exploration {
 public:
  // `engine` outlives it. `strategy`: one of StrategySet::names().
  Exploration(Engine& engine, const std::string& strategy)
      : engine_(engine),
        strategies_(strategy, engine.estimate()),
        ladder_(make_ladder(engine.limits(), engine.shape())) {}

  Execution run(std::uint64_t seed, std::uint64_t schedule) {
    schedule::Strategy& strategy = strategies_.of_schedule(schedule);
    const std::uint64_t own_seed = schedule::seed_of_schedule(seed, schedule);
    return schedule < ladder_.size() ? engine_.run(strategy, own_seed, ladder_[schedule])
                                     : engine_.run(strategy, own_seed);
  }

 private:
  Engine& engine_;
  StrategySet strategies_;
  std::vector<Scenario> ladder_;
};

}  // namespace nmrfuzz::fuzz
