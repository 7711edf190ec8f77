#include "fuzz/scenario_text.h"

#include <gtest/gtest.h>

namespace nmrfuzz::fuzz {
namespace {

ShapedScenario full() {
  ShapedScenario shaped{{2, 2}, plain_scenario({2, 2})};
  Scenario& scenario = shaped.scenario;
  scenario.world.cleanup_where = nmr::CleanupWhere::kWorker;
  scenario.world.detach_irql = nmr::DetachIrql::kDispatch;
  scenario.faults = {FaultMode::kPlanned, {3, 17}};
  scenario.modules[0] = {UnloadMoment::kSoon, 12, 3};
  scenario.modules[1] = {UnloadMoment::kAtOnce, 0, 2};
  scenario.peers[1].behaviour.first_detach = peers::Detach::kCompleteFromDpc;
  scenario.peers[1].behaviour.departure = peers::Departure::kAtRest;
  scenario.peers[1].behaviour.visits = peers::Visits::kThree;
  return shaped;
}

TEST(ScenarioText, PrintsAsDocumented) {
  EXPECT_EQ(print_scenario(full()),
            "npis 2\n"
            "world detach_irql=dispatch cleanup_where=worker\n"
            "faults call 3 and 17\n"
            "unload 1 soon 12 lives 3\n"
            "unload 2 at-once lives 2\n"
            "peer 1\n"
            "peer 2 first-detach=complete-from-dpc departure=at-rest visits=3\n");
}

TEST(ScenarioText, SaysWhatIsOdd) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(oddities_of({{2, 1}, plain_scenario({2, 1})}), Lines());
  EXPECT_EQ(oddities_of(full()), (Lines{"faults call 3 and 17", "unload 1 soon 12 lives 3", "unload 2 at-once lives 2",
                                        "peer 1", "peer 2 first-detach=complete-from-dpc departure=at-rest visits=3"}));
  ShapedScenario crowd{{9, 1}, plain_scenario({9, 1})};
  crowd.scenario.peers.back().behaviour.answer = peers::Answer::kDecline;
  EXPECT_EQ(oddities_of(crowd), (Lines{"peer 1", "peer 2", "peer 3", "peer 4", "5 more peers"}));
  crowd.scenario.peers.clear();
  EXPECT_EQ(oddities_of(crowd), Lines{"no peers"});
}

TEST(ScenarioText, ParsesWhatItPrints) {
  ShapedScenario drawn = full();
  drawn.scenario.faults = {FaultMode::kDrawn, {}};
  ShapedScenario one = full();
  one.scenario.faults.calls[1] = 0;
  ShapedScenario nobody{{0, 1}, plain_scenario({0, 1})};
  for (const ShapedScenario& each : {full(), drawn, one, nobody}) {
    std::string error;
    EXPECT_EQ(parse_scenario(print_scenario(each), error), each) << error;
  }
}

TEST(ScenarioText, OrderCommentsAndBlanksDoNotMatter) {
  std::string error;
  const auto parsed = parse_scenario("# mine\n  unload 1   at-rest\n\nfaults none\nworld windows\nnpis 0\n", error);
  EXPECT_EQ(parsed, (ShapedScenario{{0, 1}, plain_scenario({0, 1})})) << error;
}

TEST(ScenarioText, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no whole scenario"},
      {"npis 1\nworld windows\nfaults none\n", "no whole scenario"},
      {"npis 513\n", "line 1: npis '513', expected a number up to 512"},
      {"npis 1\nnpis 1\n", "line 2: npis '1', expected a number up to 512, once"},
      {"world cleanup_where=nowhere\n", "line 1: world switch 'cleanup_where' has no variant 'nowhere'"},
      {"world windows\nworld windows\n", "line 2: expected one line"},
      {"faults call 3 and 3\n", "line 1: faults 'call 3 and 3', expected none"},
      {"faults call 0\n", "line 1: faults 'call 0'"},
      {"unload 2 at-rest\n", "line 1: unload '2 at-rest', expected '1 at-rest'"},
      {"unload 1 soon\n", "line 1: unload '1 soon'"},
      {"unload 1 soon 33\n", "line 1: unload '1 soon 33'"},
      {"unload 1 at-once lives 4\n", "line 1: unload '1 at-once lives 4'"},
      {"unload 1 lives 2\n", "line 1: unload '1 lives 2'"},
      {"unload 1 at-once 3\n", "line 1: unload '1 at-once 3'"},
      {"peer\n", "line 1: peer ''"},
      {"peer 0\n", "line 1: peer '0'"},
      {"peer 1 visits=9\n", "line 1: a peer's visits is '9', expected one of: 1, 2, 3"},
      {"friend 1\n", "line 1: 'friend' is no line of a scenario"},
      {"npis 1\nworld windows\nfaults none\nunload 1 at-rest\npeer 2\n", "a peer for NPI 2"},
  };
  for (const auto& [text, expected] : cases) {
    std::string error;
    EXPECT_FALSE(parse_scenario(text, error)) << text;
    EXPECT_EQ(error.substr(0, std::string(expected).size()), expected) << text;
  }
}

}  // namespace
}  // namespace nmrfuzz::fuzz
