// `nmrfuzz rules`: everything that is checked, and where it is documented; with --worlds, what NMR may do where the
// documentation is silent.
#include <fmt/core.h>

#include "contract/rule_table.h"
#include "fuzz/commands.h"
#include "fuzz/corpus.h"
#include "fuzz/exit_status.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"
#include "nmr/world.h"

namespace nmrfuzz::fuzz {

namespace {

int run_worlds(const std::string& json) {
  std::string error;
  if (!can_write_json(json, error)) {
    return refuse(error);
  }
  if (!json.empty()) {
    return write_json(json, worlds_json()) ? kClean : kUnusable;
  }
  for (const nmr::Switch& each : nmr::switches()) {
    fmt::print("{} ({})\n  {}\n", each.name, each.point, each.question);
    for (const nmr::Variant& variant : each.variants) {
      const bool is_default = &variant == &each.variants.front();
      fmt::print("    {:<20} {}{}\n", variant.name, variant.meaning,
                 is_default      ? " (default)"
                 : variant.drawn ? ""
                                 : " (not drawn by any)");
    }
  }
  return kClean;
}

}  // namespace

int run_rules(const RulesOptions& options) {
  if (options.worlds) {
    return run_worlds(options.json);
  }
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
