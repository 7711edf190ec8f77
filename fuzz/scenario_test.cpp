#include "fuzz/scenario.h"

#include <gtest/gtest.h>

#include <functional>

namespace nmrfuzz::fuzz {
namespace {

constexpr ScenarioShape kShape{2, 1};

TEST(Scenario, ThePlainOneIsRight) {
  const Scenario plain = plain_scenario(kShape);
  EXPECT_EQ(wrong_with(plain, kShape), std::nullopt);
  EXPECT_EQ(plain.peers.size(), 2U);
  EXPECT_EQ(plain.world, nmr::World{});
}

struct Spoilt {
  const char* what;
  std::function<void(Scenario&)> spoil;
};

TEST(Scenario, SaysWhatIsWrong) {
  const Spoilt cases[] = {
      {"named if and only if", [](Scenario& s) { s.faults = {FaultMode::kPlanned, {0, 0}}; }},
      {"named if and only if", [](Scenario& s) { s.faults = {FaultMode::kDrawn, {1, 0}}; }},
      {"ascending", [](Scenario& s) { s.faults = {FaultMode::kPlanned, {7, 7}}; }},
      {"modules unload", [](Scenario& s) { s.modules.clear(); }},
      {"unload comes soon", [](Scenario& s) { s.modules[0] = {UnloadMoment::kSoon, 0, 1}; }},
      {"unload comes soon", [](Scenario& s) { s.modules[0] = {UnloadMoment::kSoon, 33, 1}; }},
      {"unload comes soon", [](Scenario& s) { s.modules[0] = {UnloadMoment::kAtOnce, 1, 1}; }},
      {"1 to 3 lives", [](Scenario& s) { s.modules[0].lives = 0; }},
      {"1 to 3 lives", [](Scenario& s) { s.modules[0].lives = 4; }},
      {"a peer for NPI 0", [](Scenario& s) { s.peers[0].npi = 0; }},
      {"a peer for NPI 3", [](Scenario& s) { s.peers[1].npi = 3; }},
      {"a peer for NPI 1", [](Scenario& s) { std::swap(s.peers[0], s.peers[1]); }},
      {"more than 8 peers", [](Scenario& s) { s.peers.assign(9, {1, {}}); }},
      {"visits is for one that departs", [](Scenario& s) { s.peers[0].behaviour.visits = peers::Visits::kTwo; }},
      {"is one of", [](Scenario& s) { s.peers[0].behaviour.answer = static_cast<peers::Answer>(99); }},
  };
  for (const Spoilt& each : cases) {
    Scenario scenario = plain_scenario(kShape);
    each.spoil(scenario);
    const auto wrong = wrong_with(scenario, kShape);
    ASSERT_TRUE(wrong) << each.what;
    EXPECT_NE(wrong->find(each.what), std::string::npos) << *wrong;
  }
}

TEST(Scenario, FitsModulesWithFewerNpis) {
  const Scenario fitting = fitted(plain_scenario({5, 2}), kShape);
  EXPECT_EQ(fitting, plain_scenario(kShape));
}

TEST(Scenario, FitsMoreModules) { EXPECT_EQ(wrong_with(fitted(plain_scenario(kShape), {2, 3}), {2, 3}), std::nullopt); }

}  // namespace
}  // namespace nmrfuzz::fuzz
