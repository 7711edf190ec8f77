#include "fuzz/scenario_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fuzz/scenario_text.h"
#include "schedule/byte_source.h"
#include "schedule/random_walk.h"

namespace nmrfuzz::fuzz {
namespace {

constexpr ScenarioShape kShape{3, 2};
constexpr int kDrawn = 2000;

ScenarioLimits limits() {
  ScenarioLimits limits;
  limits.fallible_calls = 9;
  return limits;
}

std::vector<std::uint16_t> numbers_of(const Scenario& scenario, const ScenarioShape& shape) {
  std::vector<std::uint16_t> numbers(encode_scenario(scenario, shape, {}));
  EXPECT_EQ(encode_scenario(scenario, shape, numbers), numbers.size());
  return numbers;
}

// Calls `check` with many scenarios for kShape.
template <class Check>
void for_each_drawn(const ScenarioLimits& within, Check check) {
  schedule::RandomWalk random;
  Scenario scenario;
  for (int seed = 1; seed <= kDrawn; ++seed) {
    random.begin(static_cast<std::uint64_t>(seed));
    draw_scenario(random, within, kShape, scenario);
    ASSERT_EQ(wrong_with(scenario, kShape), std::nullopt) << "seed " << seed;
    ASSERT_NO_FATAL_FAILURE(check(scenario)) << "seed " << seed;
  }
}

TEST(ScenarioCodec, FirstAlternativesAreThePlainScenario) {
  schedule::ByteSource nothing({});
  Scenario scenario;
  draw_scenario(nothing, limits(), kShape, scenario);
  EXPECT_EQ(scenario, plain_scenario(kShape));
  std::size_t used = 1;
  EXPECT_EQ(scenario_from_bytes({}, kShape, used), plain_scenario(kShape));
  EXPECT_EQ(used, 0U);
}

TEST(ScenarioCodec, NumbersGiveTheScenarioBack) {
  for_each_drawn(limits(), [](const Scenario& scenario) {
    std::vector<std::uint16_t> numbers = numbers_of(scenario, kShape);
    const std::size_t count = numbers.size();
    numbers.push_back(77);  // a decision behind it
    std::size_t used = 0;
    const auto decoded = decode_scenario(numbers, used);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, (ShapedScenario{kShape, scenario}));
    EXPECT_EQ(used, count);
  });
}

TEST(ScenarioCodec, PreemptionsUpToTheLastAccessThatCanBeNamed) {
  constexpr std::uint32_t kLast = Scenario::kOrdinalMaximum;
  Scenario scenario = plain_scenario(kShape);
  scenario.preemptions = {1, 2, kLast - 5, kLast - 4, kLast - 3, kLast - 2, kLast - 1, kLast};
  ASSERT_EQ(wrong_with(scenario, kShape), std::nullopt);
  std::size_t used = 0;
  const auto decoded = decode_scenario(numbers_of(scenario, kShape), used);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->scenario, scenario);
  EXPECT_EQ(scenario_from_bytes(scenario_to_bytes(scenario, kShape), kShape, used), scenario);
}

// Distances from bytes that leave no room, and nearly none, for the preemptions behind them.
TEST(ScenarioCodec, AnyBytesGivePreemptionsThatAreThere) {
  Scenario full = plain_scenario(kShape);
  full.preemptions = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::uint8_t> bytes = scenario_to_bytes(full, kShape);
  const auto first = std::find(bytes.begin(), bytes.end(), 8);  // their number: nothing else is that large
  ASSERT_NE(first, bytes.end());
  for (int low = 0; low < 256; ++low) {
    std::fill_n(first + 1, 3 * full.preemptions.size(), std::uint8_t{0xff});
    first[3] = static_cast<std::uint8_t>(low);
    std::size_t used = 0;
    EXPECT_EQ(wrong_with(scenario_from_bytes(bytes, kShape, used), kShape), std::nullopt) << low;
  }
}

TEST(ScenarioCodec, TruncatedAndImpossibleNumbersAreRefused) {
  for_each_drawn(limits(), [](const Scenario& scenario) {
    const std::vector<std::uint16_t> numbers = numbers_of(scenario, kShape);
    std::size_t used = 0;
    EXPECT_FALSE(decode_scenario(std::span(numbers).first(numbers.size() - 1), used));
    std::vector<std::uint16_t> impossible = numbers;
    impossible.back() = 0xffff;
    EXPECT_FALSE(decode_scenario(impossible, used));
  });
}

TEST(ScenarioCodec, WritesNoMoreThanThereIsRoomFor) {
  std::vector<std::uint16_t> room(4, 0xaaaa);
  EXPECT_GT(encode_scenario(plain_scenario(kShape), kShape, std::span(room).first(3)), 3U);
  EXPECT_EQ(room[3], 0xaaaa);
}

TEST(ScenarioCodec, BytesGiveTheScenarioBack) {
  for_each_drawn(limits(), [](const Scenario& scenario) {
    const std::vector<std::uint8_t> bytes = scenario_to_bytes(scenario, kShape);
    std::size_t used = 0;
    EXPECT_EQ(scenario_from_bytes(bytes, kShape, used), scenario);
    EXPECT_EQ(used, bytes.size());
  });
}

TEST(ScenarioCodec, AnyBytesAreAScenarioInALawfulWorld) {
  schedule::RandomBits random(1);
  for (int round = 0; round < kDrawn; ++round) {
    std::vector<std::uint8_t> bytes(random.below(120));
    std::ranges::generate(bytes, [&random] { return static_cast<std::uint8_t>(random.below(256)); });
    std::size_t used = 0;
    Scenario scenario = scenario_from_bytes(bytes, kShape, used);
    ASSERT_EQ(wrong_with(scenario, kShape), std::nullopt);
    for (const nmr::Switch& each : nmr::switches()) {
      const std::uint8_t variant = each.field(scenario.world);
      EXPECT_TRUE(variant == 0 || each.variants[variant].drawn) << each.name;
    }
  }
}

TEST(ScenarioCodec, TextBytesTextIsTheIdentity) {
  for_each_drawn(limits(), [](const Scenario& scenario) {
    const std::string text = print_scenario({kShape, scenario});
    std::string error;
    const auto parsed = parse_scenario(text, error);
    ASSERT_TRUE(parsed) << error << "\n" << text;
    std::size_t used = 0;
    const Scenario decoded = scenario_from_bytes(scenario_to_bytes(parsed->scenario, parsed->shape), kShape, used);
    EXPECT_EQ(print_scenario({parsed->shape, decoded}), text);
  });
}

TEST(ScenarioCodec, LimitsHold) {
  ScenarioLimits fixed;
  fixed.any_world = false;
  fixed.world.cleanup_where = nmr::CleanupWhere::kWorker;
  fixed.faults = false;
  for_each_drawn(fixed, [&fixed](const Scenario& scenario) {
    EXPECT_EQ(scenario.world, fixed.world);
    EXPECT_EQ(scenario.faults, FaultPlan{});
  });
  for_each_drawn(limits(), [](const Scenario& scenario) { EXPECT_LE(scenario.faults.calls[0], 9); });
  ScenarioLimits one = limits();
  one.one_peer = true;
  std::set<peers::BehaviourValues> behaviours;
  for_each_drawn(one, [&behaviours](const Scenario& scenario) {
    ASSERT_EQ(scenario.peers.size(), kShape.npis);
    for (std::uint32_t i = 0; i < kShape.npis; ++i) {
      EXPECT_EQ(scenario.peers[i].npi, i + 1);
      behaviours.insert(peers::values_of(scenario.peers[i].behaviour));
    }
  });
  EXPECT_GT(behaviours.size(), kDrawn / 4U) << "the peers' behaviour is not drawn any more";
}

// Whatever a table holds with odds above zero is drawn.
TEST(ScenarioCodec, EveryAlternativeIsDrawn) {
  std::set<std::string> seen;
  for_each_drawn(limits(), [&seen](const Scenario& drawn) {
    Scenario scenario = drawn;
    for (const nmr::Switch& each : nmr::switches()) {
      seen.insert(std::string(each.name) + "=" + std::string(each.variants[each.field(scenario.world)].name));
    }
    for (const PeerPlan& peer : scenario.peers) {
      const peers::BehaviourValues values = peers::values_of(peer.behaviour);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const peers::BehaviourField& field = peers::kBehaviourFields[i];
        seen.insert(std::string(field.name) + "=" + std::string(field.alternatives[values[i]].name));
      }
    }
    seen.insert("faults " + std::to_string(static_cast<int>(scenario.faults.mode)));
    seen.insert("peers " + std::to_string(std::ranges::count(scenario.peers, 1U, &PeerPlan::npi)));
    seen.insert("lives " + std::to_string(scenario.modules[0].lives));
    seen.insert("unload " + std::to_string(static_cast<int>(scenario.modules[0].moment)));
  });
  std::set<std::string> expected = {"lives 1", "lives 2", "lives 3", "faults 0", "faults 1", "faults 2", "peers 0",
                                    "peers 1", "peers 2", "peers 3", "unload 0", "unload 1", "unload 2"};
  for (const nmr::Switch& each : nmr::switches()) {
    for (const nmr::Variant& variant : each.variants) {
      if (variant.drawn) {
        expected.insert(std::string(each.name) + "=" + std::string(variant.name));
      }
    }
  }
  for (const peers::BehaviourField& field : peers::kBehaviourFields) {
    for (const peers::Alternative& alternative : field.alternatives) {
      expected.insert(std::string(field.name) + "=" + std::string(alternative.name));
    }
  }
  EXPECT_EQ(seen, expected);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
