// `nmrfuzz rules`: everything that is checked, and where it is documented.
#include <fmt/core.h>

#include "contract/rule_table.h"
#include "fuzz/commands.h"
#include "fuzz/corpus.h"
#include "fuzz/exit_status.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"

namespace nmrfuzz::fuzz {

int run_rules(const RulesOptions& options) {
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  if (!corpus || !can_write_json(options.json, error)) {
    return refuse(error);
  }
  if (!options.json.empty()) {
    return write_json(options.json, rules_json(*corpus)) ? kClean : kUnusable;
  }
  for (const contract::RuleRow& row : contract::rules()) {
    fmt::print("{:5} {}\n      {}; {}\n", row.id, row.sentence, contract::name_of(row.kind), row.source);
    if (!row.unobservable.empty()) {
      fmt::print("      not observable: {}\n", row.unobservable);
    }
  }
  return kClean;
}

}  // namespace nmrfuzz::fuzz
