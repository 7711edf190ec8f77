// strategies.h - which strategy decides which schedule of a hunt.
//
// A function of the schedule's number alone, so that it is the same whoever runs the schedule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "schedule/pct.h"
#include "schedule/random_walk.h"
#include "schedule/run_to_completion.h"

namespace nmrfuzz::fuzz {

class StrategySet {
 public:
  // "mix" takes turns between random and pct. The baseline run-to-completion is there by its name only.
  static std::vector<std::string> names() { return {"mix", "random", "pct", "run-to-completion"}; }

  // `name` is one of names(). `estimate`: from the probe of the modules.
  StrategySet(const std::string& name, const schedule::Estimate& estimate)
      : pct_(kDrawDepth, estimate), turns_{&named(name_of_schedule(name, 0)), &named(name_of_schedule(name, 1))} {}
  StrategySet(const StrategySet&) = delete;
  StrategySet& operator=(const StrategySet&) = delete;

  schedule::Strategy& of_schedule(std::uint64_t schedule) { return *turns_[schedule % kTurns]; }
  // Its name, without a set.
  static std::string name_of_schedule(const std::string& name, std::uint64_t schedule) {
    return name != "mix" ? name : schedule % kTurns == 0 ? "random" : "pct";
  }

 private:
  static constexpr std::uint32_t kDrawDepth = 0;
  static constexpr std::size_t kTurns = 2;

  schedule::Strategy& named(const std::string& name) {
    for (schedule::Strategy* const each :
         {static_cast<schedule::Strategy*>(&pct_), static_cast<schedule::Strategy*>(&run_to_completion_)}) {
      if (each->name() == name) {
        return *each;
      }
    }
    return random_;
  }

  schedule::RandomWalk random_;
  schedule::Pct pct_;
  schedule::RunToCompletion run_to_completion_;
  std::array<schedule::Strategy*, kTurns> turns_;  // who decides schedules 0, 2, 4, ... and who 1, 3, 5, ...
};

}  // namespace nmrfuzz::fuzz
