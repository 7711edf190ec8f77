// strategies.h - which strategy decides which schedule of a hunt.
//
// A function of the schedule's number alone, so that it is the same whoever runs the schedule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedule/pct.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::fuzz {

class StrategySet {
 public:
  // "mix" takes turns between the others.
  static std::vector<std::string> names() { return {"mix", "random", "pct"}; }

  // `name` is one of names(). `estimate`: from the probe of the modules.
  StrategySet(const std::string& name, const schedule::Estimate& estimate)
      : mixed_(name == "mix"), only_pct_(name == "pct"), pct_(kDrawDepth, estimate) {}

  schedule::Strategy& of_schedule(std::uint64_t schedule) {
    return is_pct(mixed_, only_pct_, schedule) ? static_cast<schedule::Strategy&>(pct_) : random_;
  }
  // Its name, without a set.
  static std::string name_of_schedule(const std::string& name, std::uint64_t schedule) {
    return is_pct(name == "mix", name == "pct", schedule) ? "pct" : "random";
  }

 private:
  static constexpr std::uint32_t kDrawDepth = 0;

  static bool is_pct(bool mixed, bool only_pct, std::uint64_t schedule) { return mixed ? schedule % 2 == 1 : only_pct; }

  bool mixed_;
  bool only_pct_;
  schedule::RandomWalk random_;
  schedule::Pct pct_;
};

}  // namespace nmrfuzz::fuzz
