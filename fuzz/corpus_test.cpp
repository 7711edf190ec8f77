#include "fuzz/corpus.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "contract/rule_table.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {
namespace {

namespace fs = std::filesystem;

class CorpusFolder : public testing::Test {
 protected:
  CorpusFolder() {
    std::string pattern = testing::TempDir() + "corpus-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    fs::create_directories(folder_ / "correct");
    fs::create_directories(folder_ / "planted");
  }
  ~CorpusFolder() override { fs::remove_all(folder_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
  std::string error_of_read() {
    std::string error;
    EXPECT_FALSE(read_corpus(folder_, error));
    const std::string folder = folder_.string() + "/";
    return error.starts_with(folder) ? error.substr(folder.size()) : error;
  }

  fs::path folder_;
};

constexpr const char* kHead =
    "// nmrfuzz: module\n// summary: A: sentence.\n// provides: 2\n// consumes: 1\n// expect: deadlock, bad-call\n"
    "// rule: R77, R68\n// needs: luck\n// interleaving: yes\n// hardness: 3 schedules; 250 run to completion\n\n// "
    "not: a key\nint x;\n";

TEST_F(CorpusFolder, ReadsHeads) {
  write("planted/b.c", kHead);
  write("correct/a/driver.c", "// nmrfuzz: module\n// summary: S\n// expect: none\n// rule: none\n");
  write("correct/a/rest.cpp", "");
  write("correct/a/rest.h", "");
  write("correct/notes.md", "");
  write("planted/folder-without-driver/x.c", "");
  std::string error;
  const auto corpus = read_corpus(folder_, error);
  ASSERT_TRUE(corpus) << error;
  ASSERT_EQ(corpus->size(), 2U);
  const CorpusModule& right = (*corpus)[0];
  EXPECT_EQ(right.name, "a");
  EXPECT_EQ(right.sources.size(), 2U);
  EXPECT_TRUE(right.expected.empty());
  EXPECT_TRUE(right.rules.empty());
  const CorpusModule& planted = (*corpus)[1];
  EXPECT_EQ(planted.name, "b");
  EXPECT_EQ(planted.summary, "A: sentence.");
  EXPECT_EQ(planted.provides, 2U);
  EXPECT_EQ(planted.consumes, 1U);
  EXPECT_EQ(planted.expected, (std::vector{contract::FindingKind::kDeadlock, contract::FindingKind::kBadCall}));
  EXPECT_EQ(planted.rules, (std::vector<std::string>{"R77", "R68"}));
  EXPECT_EQ(planted.needs, "luck");
  EXPECT_TRUE(planted.interleaving);
  EXPECT_EQ(planted.hardness, (Hardness{3, 250, false}));
  EXPECT_EQ(right.hardness, std::nullopt);
}

TEST_F(CorpusFolder, ReadsVariants) {
  write("planted/many.c",
        "// nmrfuzz: module\n// summary: S\n// provides: 9\n// expect: deadlock\n// rule: R95\n"
        "// variant: many-2 -DCOUNT=2  -DROLE=1\n// provides: 2\n"
        "// variant: many-1 -DCOUNT=1\n// consumes: 1\n// expect: bad-call, irql\n// hardness: 17 schedules; 1000+ run "
        "to completion\n\n// variant: no key\n");
  std::string error;
  const auto corpus = read_corpus(folder_, error);
  ASSERT_TRUE(corpus) << error;
  ASSERT_EQ(corpus->size(), 2U) << "the file itself is no module";
  const CorpusModule& one = (*corpus)[0];
  EXPECT_EQ(one.name, "many-1");
  EXPECT_EQ(one.sources, std::vector<std::string>{folder_ / "planted/many.c"});
  EXPECT_EQ(one.options, std::vector<std::string>{"-DCOUNT=1"});
  EXPECT_EQ(one.provides, 9U) << "not the other variant's";
  EXPECT_EQ(one.consumes, 1U);
  EXPECT_EQ(one.expected, (std::vector{contract::FindingKind::kBadCall, contract::FindingKind::kIrql}));
  EXPECT_EQ(one.hardness, (Hardness{17, 1000, true}));
  const CorpusModule& two = (*corpus)[1];
  EXPECT_EQ(two.hardness, std::nullopt);
  EXPECT_EQ(two.name, "many-2");
  EXPECT_EQ(two.options, (std::vector<std::string>{"-DCOUNT=2", "-DROLE=1"}));
  EXPECT_EQ(two.provides, 2U);
  EXPECT_EQ(two.expected, std::vector{contract::FindingKind::kDeadlock});
  EXPECT_EQ(two.rules, std::vector<std::string>{"R95"});
}

TEST_F(CorpusFolder, SaysWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> cases[] = {
      {"int x;\n", "planted/b.c:1: expected '// nmrfuzz: module'"},
      {"", "planted/b.c:1: expected '// nmrfuzz: module'"},
      {"// nmrfuzz: module\n// sumary: x\n", "planted/b.c:2: unknown key 'sumary'"},
      {"// nmrfuzz: module\n// no colon\n", "planted/b.c:2: expected '// key: value'"},
      {"// nmrfuzz: module\n// provides: many\n", "planted/b.c:2: 'many', expected a number"},
      {"// nmrfuzz: module\n// expect: crash\n", "planted/b.c:2: 'crash' is no kind of finding"},
      {"// nmrfuzz: module\n// variant: alone\n",
       "planted/b.c:2: variant 'alone', expected a name and the compiler's options"},
      {"// nmrfuzz: module\n// hardness: median 3 schedules\n",
       "planted/b.c:2: hardness 'median 3 schedules', expected '17 schedules; 1000+ run to completion'"},
      {"// nmrfuzz: module\n// hardness: 3 schedules; + run to completion\n",
       "planted/b.c:2: hardness '3 schedules; + run to completion', expected '17 schedules; 1000+ run to completion'"},
      {"// nmrfuzz: module\n// hardness: 3 schedules; run to completion\n",
       "planted/b.c:2: hardness '3 schedules; run to completion', expected '17 schedules; 1000+ run to completion'"},
      {"// nmrfuzz: module\n// interleaving: maybe\n", "planted/b.c:2: interleaving 'maybe', expected yes or no"}};
  for (const auto& [text, expected] : cases) {
    write("planted/b.c", text);
    EXPECT_EQ(error_of_read(), expected);
  }
}

TEST_F(CorpusFolder, MissingPartIsAnError) {
  fs::remove_all(folder_ / "planted");
  EXPECT_NE(error_of_read().find("planted: No such file"), std::string::npos);
}

// The modules that nmrfuzz comes with.
TEST(Corpus, IsWholeAndConsistent) {
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  ASSERT_TRUE(corpus) << error;
  EXPECT_FALSE(corpus->empty());
  std::set<std::string> names;
  for (const CorpusModule& module : *corpus) {
    EXPECT_TRUE(names.insert(module.name).second) << module.name << " twice";
    EXPECT_FALSE(module.summary.empty()) << module.name;
    EXPECT_FALSE(module.sources.empty()) << module.name;
    EXPECT_GT(module.provides + module.consumes, 0U) << module.name;
    const bool planted = module.sources.front().find("/planted/") != std::string::npos;
    EXPECT_EQ(planted, !module.expected.empty()) << module.name;
    for (const std::string& rule : module.rules) {
      EXPECT_TRUE(rule.starts_with('R') && parse_number(rule.substr(1))) << module.name << " names " << rule;
    }
  }
}

// A planted defect that a plain test finds at once proves little: at least half of them survive one.
TEST(Corpus, EachDefectsHardnessIsMeasuredAndHalfOfThemSurviveAPlainTest) {
  constexpr std::uint32_t kSchedules = 10'000;
  constexpr std::uint32_t kPlainSchedules = 1'000;
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  ASSERT_TRUE(corpus) << error;
  std::size_t planted = 0;
  std::size_t surviving = 0;
  for (const CorpusModule& module : *corpus) {
    EXPECT_EQ(module.hardness.has_value(), !module.expected.empty()) << module.name << ": run cmake/hardness.sh";
    if (!module.hardness) {
      continue;
    }
    const auto [schedules, run_to_completion, survives] = *module.hardness;
    EXPECT_TRUE(schedules >= 1 && schedules <= kSchedules) << module.name;
    EXPECT_TRUE(run_to_completion >= 1 && run_to_completion <= kPlainSchedules) << module.name;
    EXPECT_TRUE(!survives || run_to_completion == kPlainSchedules) << module.name;
    ++planted;
    surviving += survives ? 1 : 0;
  }
  EXPECT_GE(2 * surviving, planted) << surviving << " of " << planted;
}

// No rule is only claimed to be checked.
TEST(Corpus, EachRuleIsProvedByADefectOrSaysWhyNot) {
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  ASSERT_TRUE(corpus) << error;
  std::set<std::string> proved;
  std::set<contract::FindingKind> planted;  // kinds without any planted defect are left out
  for (const CorpusModule& module : *corpus) {
    planted.insert(module.expected.begin(), module.expected.end());
    for (const std::string& rule : module.rules) {
      EXPECT_NE(contract::find_rule(rule), nullptr) << module.name << " names " << rule;
      proved.insert(rule);
    }
  }
  for (const contract::RuleRow& row : contract::rules()) {
    EXPECT_TRUE(proved.contains(std::string(row.id)) || !row.unobservable.empty() || !planted.contains(row.kind))
        << row.id;
  }
}

}  // namespace
}  // namespace nmrfuzz::fuzz
