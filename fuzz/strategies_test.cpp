#include "fuzz/strategies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace nmrfuzz::fuzz {
namespace {

constexpr std::uint64_t kSchedules = 20;

std::set<std::string> used_by(const std::string& name) {
  StrategySet set(name, {});
  std::set<std::string> used;
  for (std::uint64_t schedule = 0; schedule < kSchedules; ++schedule) {
    const std::string_view used_now = set.of_schedule(schedule).name();
    EXPECT_EQ(used_now, StrategySet::name_of_schedule(name, schedule)) << name << ", schedule " << schedule;
    used.emplace(used_now);
  }
  return used;
}

TEST(StrategySet, EachNameIsItselfAndMixTakesTurns) {
  for (const std::string& name : StrategySet::names()) {
    if (name != "mix") {
      EXPECT_EQ(used_by(name), std::set<std::string>{name});
    }
  }
  EXPECT_EQ(used_by("mix"), (std::set<std::string>{"random", "pct"})) << "the baseline finds too little to take turns";
}

}  // namespace
}  // namespace nmrfuzz::fuzz
