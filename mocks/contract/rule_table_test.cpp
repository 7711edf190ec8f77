#include "contract/rule_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string>

namespace nmrfuzz::contract {
namespace {

// Every rule id that a family gives to a finding. Their tests show that it does.
constexpr std::string_view kReported[] = {
    "R11", "R19", "R20", "R24", "R25", "R26", "R27", "R29", "R32", "R33",  "R34",  "R35",  "R36",  "R37", "R38", "R39",
    "R43", "R49", "R50", "R55", "R58", "R63", "R65", "R66", "R68", "R69",  "R70",  "R71",  "R72",  "R73", "R82", "R87",
    "R89", "R90", "R91", "R92", "R93", "R94", "R97", "R98", "R99", "R100", "R101", "R102", "R108", "R109"};

// Rules of the table that are checked without being named: the finding has their kind and another rule, or none.
struct Unnamed {
  std::string_view id;
  std::string_view shows_as;
};
constexpr Unnamed kUnnamed[] = {
    {"R5", "NULL or unreadable arguments of Register, R20"},
    {"R9", "NULL arguments of Register, R20"},
    {"R17", "whatever the attach callback finds not initialised"},
    {"R46", "NmrClientAttachProvider when the binding is not offered, R32"},
    {"R59", "a call that is running or begins when its side is done, R58, R66 or R71"},
    {"R61", "a call that begins when its side is done, R58"},
    {"R67", "a call that is running when the callback returns, R66"},
    {"R78", "irql, by the routine that was called too high"},
    {"R85", "a block that is left, R109, or freed twice"},
    {"R86", "irql, by the routine that was called too high"},
    {"R95", "the registration that was not waited for, R90 or R91"},
    {"R104", "a deadlock"},
    {"R105", "a deadlock"},
};

bool is_reported(std::string_view id) {
  return std::find(std::begin(kReported), std::end(kReported), id) != std::end(kReported);
}

bool is_unnamed(std::string_view id) {
  return std::any_of(std::begin(kUnnamed), std::end(kUnnamed), [&](const Unnamed& each) { return each.id == id; });
}

int number_of(std::string_view id) {
  int number = 0;
  std::from_chars(id.data() + 1, id.data() + id.size(), number);
  return number;
}

TEST(RuleTableTest, RowsAreCompleteAndInOrder) {
  int before = 0;
  for (const RuleRow& row : rules()) {
    SCOPED_TRACE(std::string(row.id));
    ASSERT_TRUE(row.id.starts_with('R'));
    EXPECT_GT(number_of(row.id), before);
    before = number_of(row.id);
    EXPECT_TRUE(row.sentence.ends_with('.'));
    EXPECT_FALSE(row.source.empty());
    EXPECT_NE(row.kind, FindingKind::kHarnessFault);
  }
}

TEST(RuleTableTest, EachRuleIsFoundByItsId) {
  for (const RuleRow& row : rules()) {
    EXPECT_EQ(find_rule(row.id), &row);
  }
  EXPECT_EQ(find_rule(""), nullptr);
  EXPECT_EQ(find_rule("R0"), nullptr);
  EXPECT_EQ(find_rule("R9 "), nullptr);
}

TEST(RuleTableTest, EachReportedRuleIsInTheTable) {
  for (const std::string_view id : kReported) {
    const RuleRow* const row = find_rule(id);
    ASSERT_NE(row, nullptr) << id;
    EXPECT_TRUE(row->unobservable.empty()) << id;
  }
}

TEST(RuleTableTest, EachRuleOfTheTableIsReportedOrSaysWhyNot) {
  for (const RuleRow& row : rules()) {
    const int ways = (is_reported(row.id) ? 1 : 0) + (is_unnamed(row.id) ? 1 : 0) + (row.unobservable.empty() ? 0 : 1);
    EXPECT_EQ(ways, 1) << row.id;
  }
}

}  // namespace
}  // namespace nmrfuzz::contract
