// nearby.h - what each schedule of a hunt near a known execution runs.
//
// The first repeats the known execution. Of the others, in turn: one repeats the beginning of the decisions, of a drawn
// length, and goes on as the strategy says; one keeps the scenario alone; one changes the scenario in one thing; one is
// what the usual exploration would run. So the hunt also ends well where the known execution is of no help any more.
// As in exploration.h a function of the hunt's seed and the schedule's number alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fuzz/engine.h"
#include "fuzz/exploration.h"
#include "fuzz/strategies.h"

namespace nmrfuzz::fuzz {

class Nearby {
 public:
  // `engine` and `usual` outlive it. `log`: a decision log of these modules or of similar ones, its scenario first
  // (scenario_codec.h). Without one every schedule is a usual one. `strategy`: one of StrategySet::names().
  Nearby(Engine& engine, Exploration& usual, const std::string& strategy, std::span<const std::uint16_t> log);

  Execution run(std::uint64_t seed, std::uint64_t schedule);

  // "recorded", "prefix/pct", "scenario/random", "mutation/pct", or as StrategySet says. `with_log`: there is one.
  static std::string name_of_schedule(const std::string& strategy, std::uint64_t schedule, bool with_log);

 private:
  // `scenario` and the first `length` of the known answers, then what `rest`, begun with `seed`, decides.
  Execution run_prefix(const Scenario& scenario, std::size_t length, schedule::Strategy& rest, std::uint64_t seed);
  Execution run_mutation(schedule::Strategy& rest, std::uint64_t seed, schedule::RandomBits& bits);

  Engine& engine_;
  Exploration& usual_;
  StrategySet strategies_;
  std::optional<Scenario> scenario_;    // the known one, as it fits the modules
  std::vector<std::uint16_t> answers_;  // behind it
};

}  // namespace nmrfuzz::fuzz
