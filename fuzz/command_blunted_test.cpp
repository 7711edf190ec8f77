// command_blunted_test.cpp - a nightly run with a rule that overlooks its breaches fails, and names the canary that was
// missed: the planted defects prove their rules in each run, not only when they are made.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "fuzz/command_fixture.h"
#include "fuzz/corpus.h"
#include "fuzz/exit_status.h"

namespace nmrfuzz::fuzz {
namespace {

// The command with rules that $NMRFUZZ_BLUNT_RULE makes blunt.
constexpr const char* kBluntedProgram = NMRFUZZ_BINARY_DIR "/tests/nmrfuzz-blunted";
constexpr std::size_t kCanaries = 3;  // of each rule, at most

class BluntedRule : public Command, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    Command::SetUp();
    if (!fs::exists(kBluntedProgram)) {
      GTEST_SKIP() << kBluntedProgram << " is not built";
    }
    std::string error;
    const auto corpus = read_corpus(corpus_folder(), error);
    ASSERT_TRUE(corpus) << error;
    fs::create_directories(folder_ / "corpus/correct");
    fs::create_directories(folder_ / "corpus/planted");
    for (const CorpusModule& module : *corpus) {
      const bool proves_it = !module.rules.empty() && module.rules.front() == GetParam();
      if (proves_it && module.sources.size() == 1 && module.options.empty() && canaries_.size() < kCanaries) {
        const fs::path source = module.sources.front();
        fs::copy_file(source, folder_ / "corpus/planted" / source.filename());
        canaries_.insert(module.name);
      }
    }
    ASSERT_FALSE(canaries_.empty());
  }

  // The rows of a nightly run over them, by name: what came out.
  std::map<std::string, std::string> nightly(const std::string& program, const std::string& environment, int& status) {
    const auto result = module::run_process({"/bin/sh", "-c",
                                             "cd " + folder_.string() + " && NMRFUZZ_CORPUS=corpus " + environment +
                                                 " " + program + " nightly --time 1s --out out --json - 2>/dev/null"});
    status = result.status;
    std::map<std::string, std::string> outcomes;
    const Json rows = Json::parse(result.output, nullptr, false).value("rows", Json::array());
    for (const Json& row : rows) {
      outcomes[row["name"]] = row["outcome"];
    }
    return outcomes;
  }

  std::set<std::string> canaries_;
};

TEST_P(BluntedRule, FailsTheNightlyRun) {
  const std::string blunt = std::string("NMRFUZZ_BLUNT_RULE=") + GetParam();
  int status = 0;
  for (const auto& [program, environment] :
       {std::pair(kProgram, std::string()), std::pair(kBluntedProgram, std::string()),
        std::pair(kProgram, blunt)}) {  // the product has no blunt rules
    const auto outcomes = nightly(program, environment, status);
    EXPECT_EQ(status, kClean) << program << " " << environment;
    EXPECT_EQ(outcomes.size(), canaries_.size());
  }
  const auto outcomes = nightly(kBluntedProgram, blunt, status);
  EXPECT_EQ(status, kHarnessFault);
  EXPECT_EQ(outcomes.size(), canaries_.size());
  EXPECT_TRUE(
      std::ranges::any_of(outcomes, [](const auto& row) { return row.second == "missed" || row.second == "wrong"; }));
}

// At least one of each family of rules. Of most others a later rule, or the crash that follows, is as good a verdict.
INSTANTIATE_TEST_SUITE_P(Families, BluntedRule,
                         testing::Values("R2", "R19", "R24", "R35", "R38", "R46", "R55", "R68", "R91"));

}  // namespace
}  // namespace nmrfuzz::fuzz
