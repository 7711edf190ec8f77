#include "fuzz/ladder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fuzz/scenario_text.h"

namespace nmrfuzz::fuzz {
namespace {

constexpr ScenarioShape kShape{2, 1};

ScenarioLimits limits() {
  ScenarioLimits limits;
  limits.fallible_calls = 5;
  return limits;
}

TEST(Ladder, BeginsPlainAndHasEachRungOnce) {
  const std::vector<Scenario> ladder = make_ladder(limits(), kShape);
  ASSERT_FALSE(ladder.empty());
  EXPECT_EQ(ladder.front(), plain_scenario(kShape));
  std::set<std::string> texts;
  for (const Scenario& rung : ladder) {
    EXPECT_EQ(wrong_with(rung, kShape), std::nullopt);
    EXPECT_TRUE(texts.insert(print_scenario({kShape, rung})).second) << print_scenario({kShape, rung});
  }
}

TEST(Ladder, HasEachLawfulVariantBehaviourAndFailure) {
  std::set<std::string> words;
  for (const Scenario& rung : make_ladder(limits(), kShape)) {
    std::string text = print_scenario({kShape, rung});
    std::ranges::replace(text, ' ', '\n');
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
      words.insert(text.substr(at, text.find('\n', at) - at));
    }
    if (rung.faults.mode == FaultMode::kPlanned) {
      words.insert("call " + std::to_string(rung.faults.calls[0]));
    }
  }
  for (const nmr::Switch& each : nmr::switches()) {
    for (std::size_t i = 1; i < each.variants.size(); ++i) {
      const std::string word = std::string(each.name) + "=" + std::string(each.variants[i].name);
      EXPECT_EQ(words.contains(word), each.variants[i].drawn) << word;
    }
  }
  for (const peers::BehaviourField& field : peers::kBehaviourFields) {
    for (std::size_t i = 1; i < field.alternatives.size(); ++i) {
      const std::string word = std::string(field.name) + "=" + std::string(field.alternatives[i].name);
      EXPECT_TRUE(words.contains(word)) << word;
    }
  }
  for (int call = 1; call <= 5; ++call) {
    EXPECT_TRUE(words.contains("call " + std::to_string(call)));
  }
  EXPECT_FALSE(words.contains("call 6"));
}

TEST(Ladder, StaysWithinItsLimits) {
  ScenarioLimits fixed = limits();
  fixed.any_world = false;
  fixed.world.cleanup_where = nmr::CleanupWhere::kWorker;
  fixed.faults = false;
  for (const Scenario& rung : make_ladder(fixed, kShape)) {
    EXPECT_EQ(rung.world, fixed.world);
    EXPECT_EQ(rung.faults, FaultPlan{});
  }
  ScenarioLimits one = limits();
  one.one_peer = true;
  EXPECT_TRUE(make_ladder(one, kShape).empty());
}

TEST(Ladder, IsNotLongerForMoreNpis) {
  EXPECT_EQ(make_ladder(limits(), {512, 1}).size(), make_ladder(limits(), {1, 1}).size());
  ScenarioLimits many = limits();
  many.fallible_calls = 5000;
  EXPECT_EQ(make_ladder(many, kShape).size(), make_ladder(limits(), kShape).size() + kLadderCallsMaximum - 5);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
