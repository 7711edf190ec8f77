// exploration.h - what each schedule of a hunt runs: its scenario, its strategy and its seed.
//
// A function of the hunt's seed and the schedule's number alone, so that it is the same whoever runs the schedule.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fuzz/engine.h"
#include "fuzz/fault_sweep.h"
#include "fuzz/ladder.h"
#include "fuzz/scenario_codec.h"
#include "fuzz/strategies.h"

namespace nmrfuzz::fuzz {

class Exploration {
 public:
  // `engine` outlives it. `strategy`: one of StrategySet::names().
  // `sweeps`: the failures of a sweep come first, then the drawn ones; the ladder is left out.
  Exploration(Engine& engine, const std::string& strategy, bool sweeps = false)
      : engine_(engine), strategies_(strategy, engine.estimate()) {
    if (sweeps) {
      sweep_.emplace(count_fallible_calls());
    } else {
      ladder_ = make_ladder(engine.limits(), engine.shape());
    }
  }

  // nullopt where nothing is swept.
  const std::optional<FaultSweep>& sweep() const { return sweep_; }

  Execution run(std::uint64_t seed, std::uint64_t schedule) {
    schedule::Strategy& strategy = strategies_.of_schedule(schedule);
    const std::uint64_t own_seed = schedule::seed_of_schedule(seed, schedule);
    if (const auto step = sweep_ ? sweep_->step(schedule) : std::nullopt) {
      return engine_.run(strategy, own_seed, scenario_of(*step, strategy, own_seed));
    }
    return schedule < ladder_.size() ? engine_.run(strategy, own_seed, ladder_[schedule])
                                     : engine_.run(strategy, own_seed);
  }

 private:
  // How many calls an execution makes that can fail: the most of some, since peers bring some about.
  std::uint32_t count_fallible_calls() {
    constexpr std::uint64_t kSamples = 64;
    std::uint32_t most = engine_.limits().fallible_calls;
    ScenarioLimits limits = engine_.limits();
    limits.faults = false;
    schedule::RandomWalk random;
    for (std::uint64_t seed = 1; seed <= kSamples; ++seed) {
      random.begin(seed);
      draw_scenario(random, limits, engine_.shape(), scenario_);
      most = std::max(most, engine_.run(random, seed, scenario_).fallible_calls);
    }
    return most;
  }

  const Scenario& scenario_of(const FaultSweep::Step& step, schedule::Strategy& strategy, std::uint64_t seed) {
    if (step.plain) {
      scenario_ = plain_scenario(engine_.shape());
      scenario_.world = engine_.limits().plain_world();
    } else {
      strategy.begin(seed);
      draw_scenario(strategy, engine_.limits(), engine_.shape(), scenario_);
    }
    scenario_.faults = step.faults;
    return scenario_;
  }

  Engine& engine_;
  StrategySet strategies_;
  std::vector<Scenario> ladder_;
  std::optional<FaultSweep> sweep_;
  Scenario scenario_;
};

}  // namespace nmrfuzz::fuzz
