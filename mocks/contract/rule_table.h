// rule_table.h - every rule that is checked: its number in the contract, what it says, where that is documented.
#pragma once

#include <span>
#include <string_view>

#include "contract/finding.h"

namespace nmrfuzz::contract {

struct RuleRow {
  std::string_view id;            // "R91"
  std::string_view sentence;      // what a module must do
  std::string_view source;        // documentation page
  FindingKind kind;               // what a breach is reported as
  std::string_view unobservable;  // why no breach can be seen; empty if it can
};

// In the order of their numbers.
std::span<const RuleRow> rules();

// The row of that id; nullptr if there is none.
const RuleRow* find_rule(std::string_view id);

}  // namespace nmrfuzz::contract
