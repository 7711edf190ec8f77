// rule_table.h - every rule of the contract: its number, what it says, where that is documented, how a breach shows.
#pragma once

#include <span>
#include <string_view>

#include "contract/finding.h"

namespace nmrfuzz::contract {

struct RuleRow {
  std::string_view id;        // "R91"
  std::string_view sentence;  // what a module must do
  std::string_view source;    // documentation page
  FindingKind kind;           // what a breach is reported as
  // Why no planted defect proves it: it cannot be seen, is only noted, or shows as something else. Empty if one does.
  std::string_view unobservable;
};

// In the order of their numbers.
std::span<const RuleRow> rules();

// The row of that id; nullptr if there is none.
const RuleRow* find_rule(std::string_view id);

// What a note says of a point on which the documentation is silent ("A16"), or the sentence of a rule.
std::string_view sentence_of_rule(std::string_view id);

}  // namespace nmrfuzz::contract
