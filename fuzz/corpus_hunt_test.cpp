// corpus_hunt_test.cpp - every module of the corpus under the default hunt: correct ones are never accused, planted
// defects are found as what they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "contract/rule_table.h"
#include "fuzz/corpus.h"
#include "fuzz/hunt_fixture.h"
#include "fuzz/steering.h"

namespace nmrfuzz::fuzz {

static void PrintTo(const CorpusModule& module, std::ostream* out) { *out << module.name; }

namespace {

constexpr std::uint64_t kSchedulesOfCorrect = 2'000;
constexpr std::uint64_t kNpisForAll = 4;  // with more NPIs an execution takes longer: there are fewer of them
constexpr std::uint64_t kSchedulesToFind = 10'000;
constexpr std::uint64_t kSeeds = 3;
constexpr int kReplays = 20;

// What a hunt with one seed found.
struct Found {
  std::uint64_t schedule = 0;
  contract::Finding finding;
  trace::TraceHash hash = 0;
  std::vector<std::uint16_t> decisions;
};

// What comes of a data race, as the worker looks for it; the race itself if nothing graver does.
Execution steered(Hunted& hunted, const Execution& racing, std::uint64_t seed) {
  const std::vector<std::uint16_t> log = hunted.decisions();
  const auto graver = Steering(hunted.engine()).search(log, *racing.finding, seed);
  return graver ? *graver : hunted.engine().repeat(log);
}

std::optional<Found> hunt(Hunted& hunted, std::uint64_t seed, std::uint64_t schedules) {
  for (std::uint64_t schedule = 0; schedule < schedules; ++schedule) {
    Execution execution = hunted.run(seed, schedule);
    if (execution.finding && execution.finding->kind == contract::FindingKind::kDataRace) {
      execution = steered(hunted, execution, schedule::seed_of_schedule(seed, schedule));
    }
    if (execution.finding) {
      return Found{schedule, *execution.finding, execution.hash, hunted.decisions()};
    }
  }
  return std::nullopt;
}

std::string described(const Report& report) {
  std::string text = report.kind + " " + report.rule + ": " + report.title + "\n  " + report.signature + "\n  world " +
                     report.world + "\n";
  for (const std::string& line : report.events) {
    text += "  " + line + "\n";
  }
  return text;
}

std::vector<CorpusModule> modules(bool planted) {
  std::string error;
  auto all = read_corpus(corpus_folder(), error);
  if (!all) {
    std::fprintf(stderr, "%s\n", error.c_str());
    std::abort();
  }
  std::erase_if(*all, [&](const CorpusModule& module) { return module.expected.empty() == planted; });
  return *all;
}

std::string test_name(const ::testing::TestParamInfo<CorpusModule>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class CorrectModule : public ::testing::TestWithParam<CorpusModule> {};

TEST_P(CorrectModule, IsNeverAccused) {
  Hunted hunted(GetParam().sources, GetParam().options);
  ASSERT_TRUE(hunted.usable());
  EXPECT_EQ(hunted.engine().npis_provided(), GetParam().provides);
  EXPECT_EQ(hunted.engine().npis_consumed(), GetParam().consumes);
  EXPECT_GT(hunted.engine().probe().registrations, 0U);
  const std::uint64_t npis = std::max<std::uint64_t>(kNpisForAll, GetParam().provides + GetParam().consumes);
  if (const auto found = hunt(hunted, 1, kSchedulesOfCorrect * kNpisForAll / npis)) {
    ADD_FAILURE() << "schedule " << found->schedule << ": " << described(hunted.engine().describe(found->decisions));
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, CorrectModule, ::testing::ValuesIn(modules(false)), test_name);

class PlantedDefect : public ::testing::TestWithParam<CorpusModule> {
 protected:
  void check_report(Hunted& hunted, const Found& found) {
    const Report report = hunted.engine().describe(found.decisions);
    EXPECT_EQ(report.kind, contract::name_of(found.finding.kind)) << "the repetition came to another verdict";
    EXPECT_EQ(report.rule, found.finding.rule);
    EXPECT_FALSE(report.title.empty());
    EXPECT_TRUE(report.signature.starts_with(report.kind + ":" + report.rule + ":")) << report.signature;
    EXPECT_FALSE(report.events.empty());
    EXPECT_TRUE(report.rule.empty() || contract::find_rule(report.rule) != nullptr) << report.rule;
    signatures_[report.kind + " " + report.rule].insert(report.signature);
  }

  std::map<std::string, std::set<std::string>> signatures_;  // by kind and rule
};

TEST_P(PlantedDefect, IsFoundWithEverySeed) {
  Hunted hunted(GetParam().sources, GetParam().options);
  ASSERT_TRUE(hunted.usable());
  if (hunted.engine().probe().registrations != 0) {  // else the defect is in the way that it registers
    EXPECT_EQ(hunted.engine().npis_provided(), GetParam().provides);
    EXPECT_EQ(hunted.engine().npis_consumed(), GetParam().consumes);
  }
  const std::vector<contract::FindingKind>& expected = GetParam().expected;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto found = hunt(hunted, seed, kSchedulesToFind);
    ASSERT_TRUE(found) << "seed " << seed;
    EXPECT_NE(std::find(expected.begin(), expected.end(), found->finding.kind), expected.end())
        << described(hunted.engine().describe(found->decisions));
    check_report(hunted, *found);
  }
  // What comes of a race depends on which of its two sides was late: both are its signatures.
  const bool races = std::find(expected.begin(), expected.end(), contract::FindingKind::kDataRace) != expected.end();
  for (const auto& [kind_and_rule, signatures] : signatures_) {
    EXPECT_TRUE(races || signatures.size() == 1) << kind_and_rule << "\n"
                                                 << *signatures.begin() << "\n"
                                                 << *signatures.rbegin();
    EXPECT_LE(signatures.size(), 3U) << kind_and_rule << "\n" << *signatures.begin() << "\n" << *signatures.rbegin();
  }
}

TEST_P(PlantedDefect, IsReplayedTheSameWay) {
  Hunted hunted(GetParam().sources, GetParam().options);
  ASSERT_TRUE(hunted.usable());
  const auto found = hunt(hunted, 1, kSchedulesToFind);
  ASSERT_TRUE(found);
  for (int i = 0; i < kReplays; ++i) {
    const Execution again = hunted.engine().repeat(found->decisions);
    ASSERT_TRUE(again.finding) << "replay " << i;
    EXPECT_EQ(again.finding->kind, found->finding.kind);
    EXPECT_EQ(again.hash, found->hash) << "replay " << i;
    hunted.run(2, static_cast<std::uint64_t>(i));  // something else in between
  }
}

INSTANTIATE_TEST_SUITE_P(Corpus, PlantedDefect, ::testing::ValuesIn(modules(true)), test_name);

}  // namespace
}  // namespace nmrfuzz::fuzz
