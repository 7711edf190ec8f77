#include "contract/rule_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace nmrfuzz::contract {
namespace {

// Every rule id that a family gives to a finding or note. Their tests show that it does.
constexpr std::string_view kReported[] = {
    "R1",  "R2",  "R3",  "R4",   "R5",   "R6",   "R7",   "R9",   "R10",  "R11",  "R12", "R13", "R16",
    "R19", "R20", "R21", "R22",  "R24",  "R25",  "R26",  "R27",  "R28",  "R29",  "R30", "R31", "R32",
    "R33", "R34", "R35", "R36",  "R37",  "R38",  "R39",  "R41",  "R43",  "R46",  "R48", "R49", "R50",
    "R53", "R55", "R57", "R58",  "R63",  "R65",  "R66",  "R68",  "R69",  "R70",  "R71", "R72", "R73",
    "R78", "R79", "R82", "R83",  "R86",  "R87",  "R89",  "R90",  "R91",  "R92",  "R93", "R94", "R95",
    "R97", "R98", "R99", "R100", "R101", "R102", "R103", "R104", "R105", "R108", "R109"};

bool is_reported(std::string_view id) {
  return std::find(std::begin(kReported), std::end(kReported), id) != std::end(kReported);
}

TEST(RuleTableTest, HoldsEveryRuleOnce) {
  constexpr int kModuleRules = 111;
  constexpr int kWinsockRules = 13;
  std::size_t index = 0;
  for (const auto& [letter, count] : {std::pair{'R', kModuleRules}, std::pair{'W', kWinsockRules}}) {
    for (int number = 1; number <= count; ++number, ++index) {
      ASSERT_LT(index, rules().size());
      EXPECT_EQ(rules()[index].id, letter + std::to_string(number));
    }
  }
  EXPECT_EQ(index, rules().size());
}

TEST(RuleTableTest, RowsAreComplete) {
  std::set<std::string_view> sentences;
  for (const RuleRow& row : rules()) {
    SCOPED_TRACE(std::string(row.id));
    EXPECT_TRUE(row.sentence.ends_with('.'));
    EXPECT_TRUE(sentences.insert(row.sentence).second);
    EXPECT_FALSE(row.source.empty());
    EXPECT_NE(row.kind, FindingKind::kHarnessFault);
  }
}

TEST(RuleTableTest, EachRuleIsFoundByItsId) {
  for (const RuleRow& row : rules()) {
    EXPECT_EQ(find_rule(row.id), &row);
    EXPECT_EQ(sentence_of_rule(row.id), row.sentence);
  }
  EXPECT_EQ(find_rule(""), nullptr);
  EXPECT_EQ(find_rule("R0"), nullptr);
  EXPECT_EQ(find_rule("R9 "), nullptr);
}

TEST(RuleTableTest, EachReportedRuleIsInTheTable) {
  for (const std::string_view id : kReported) {
    EXPECT_NE(find_rule(id), nullptr) << id;
  }
}

TEST(RuleTableTest, EachSilentPointThatIsNotedHasASentence) {
  for (const std::string_view id : {"A1", "A4", "A6", "A8", "A13", "A16"}) {
    EXPECT_TRUE(sentence_of_rule(id).ends_with('.')) << id;
  }
  EXPECT_EQ(sentence_of_rule("A99"), "");
}

// What no family names has to say as what it shows, or is proved by a planted defect that shows as another rule.
TEST(RuleTableTest, WinsockRulesAreNotPlayed) {
  for (const RuleRow& row : rules()) {
    EXPECT_TRUE(!row.id.starts_with('W') || !row.unobservable.empty()) << row.id;
    EXPECT_FALSE(row.id.starts_with('W') && is_reported(row.id)) << row.id;
  }
}

}  // namespace
}  // namespace nmrfuzz::contract
