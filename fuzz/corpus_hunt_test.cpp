// corpus_hunt_test.cpp - every module of the corpus under the default hunt: correct ones are never accused, planted
// defects are found as what they are, whatever the module is called.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "contract/rule_table.h"
#include "fuzz/corpus.h"
#include "fuzz/hunt_fixture.h"
#include "module/files.h"
#include "module/module_fixture.h"

namespace nmrfuzz::fuzz {

static void PrintTo(const CorpusModule& module, std::ostream* out) { *out << module.name; }

namespace {

constexpr std::uint64_t kSchedulesOfCorrect = 2'000;
constexpr std::uint64_t kNpisForAll = 4;  // with more NPIs an execution takes longer: there are fewer of them
constexpr std::uint64_t kSchedulesToFind = 10'000;
constexpr std::uint64_t kSeeds = 3;
constexpr std::uint64_t kSchedulesToCompare = 500;
constexpr int kReplays = 20;

// What a hunt with one seed found.
struct Found {
  std::uint64_t schedule = 0;
  contract::Finding finding;
  trace::TraceHash hash = 0;
  std::vector<std::uint16_t> decisions;
};

std::optional<Found> hunt(Hunted& hunted, std::uint64_t seed, std::uint64_t schedules) {
  for (std::uint64_t schedule = 0; schedule < schedules; ++schedule) {
    const Execution execution = hunted.run(seed, schedule);
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

CorpusModule module_of(const std::string& name) {
  for (const bool planted : {false, true}) {
    for (const CorpusModule& module : modules(planted)) {
      if (module.name == name) {
        return module;
      }
    }
  }
  ADD_FAILURE() << "no module " << name;
  return {};
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
  for (const auto& [kind_and_rule, signatures] : signatures_) {
    EXPECT_EQ(signatures.size(), 1U) << kind_and_rule << "\n" << *signatures.begin() << "\n" << *signatures.rbegin();
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

// A module's source under other names and with other GUIDs.
std::string disguised(const std::string& source) {
  std::smatch match;
  const std::regex npi("static const NPIID (\\w+)NpiId");
  EXPECT_TRUE(std::regex_search(source, match, npi));
  std::string prefix = match[1];
  std::string upper = prefix;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  std::string text = std::regex_replace(source, std::regex(prefix), "Quasar");
  text = std::regex_replace(text, std::regex(upper), "QUASAR");
  // Two digits of each part of a GUID, the first of which has eight.
  text = std::regex_replace(text, std::regex("(0x[0-9a-f]{6})[0-9a-f]{2}(, 0x[0-9a-f]{2})[0-9a-f]{2},"),
                            "$1"
                            "77$2"
                            "77,");
  EXPECT_NE(text, source);
  return text;
}

class DisguisedModule : public ::testing::Test, protected module::ModuleTools {
 protected:
  // Returns the path of the source in disguise.
  std::string disguise(const std::string& original) {
    return folder.write("something-else.c", disguised(module::read_file(original).value()));
  }
};

TEST_F(DisguisedModule, ADefectIsFoundInTheSameExecution) {
  const auto hunts_of = [](const std::string& source) {
    std::vector<Found> all;
    Hunted hunted({source});
    for (std::uint64_t seed = 1; hunted.usable() && seed <= kSeeds; ++seed) {
      if (auto found = hunt(hunted, seed, kSchedulesToFind)) {
        all.push_back(*std::move(found));
      }
    }
    return all;
  };
  const std::string original = module_of("complete-twice").sources.front();
  const std::vector<Found> expected = hunts_of(original);
  const std::vector<Found> found = hunts_of(disguise(original));
  ASSERT_EQ(expected.size(), kSeeds);
  ASSERT_EQ(found.size(), kSeeds);
  for (std::size_t i = 0; i < kSeeds; ++i) {
    EXPECT_EQ(found[i].schedule, expected[i].schedule);
    EXPECT_EQ(found[i].finding.kind, expected[i].finding.kind);
    EXPECT_EQ(found[i].finding.rule, expected[i].finding.rule);
    EXPECT_EQ(found[i].hash, expected[i].hash);
  }
}

TEST_F(DisguisedModule, ACorrectModuleRunsTheSameExecutions) {
  const auto hashes_of = [](const std::string& source) {
    std::vector<trace::TraceHash> hashes;
    Hunted hunted({source});
    for (std::uint64_t schedule = 0; hunted.usable() && schedule < kSchedulesToCompare; ++schedule) {
      hashes.push_back(hunted.run(1, schedule).hash);
    }
    return hashes;
  };
  const std::string original = module_of("detach-by-reference").sources.front();
  const std::vector<trace::TraceHash> expected = hashes_of(original);
  ASSERT_EQ(expected.size(), kSchedulesToCompare);
  EXPECT_GT(std::set(expected.begin(), expected.end()).size(), kSchedulesToCompare / 2) << "hashes tell nothing";
  EXPECT_EQ(hashes_of(disguise(original)), expected);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
