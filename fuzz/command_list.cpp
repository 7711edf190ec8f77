// `nmrfuzz list`: the modules of the corpus.
#include <fmt/core.h>

#include "fuzz/commands.h"
#include "fuzz/corpus.h"
#include "fuzz/exit_status.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

std::string expected_text(const CorpusModule& module) {
  std::vector<std::string> names;
  names.reserve(module.expected.size());
  for (const contract::FindingKind kind : module.expected) {
    names.emplace_back(contract::name_of(kind));
  }
  return names.empty() ? "nothing" : join(names, " or ");
}

}  // namespace

int run_list(const ListOptions& options) {
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  if (!corpus || !can_write_json(options.json, error)) {
    return refuse(error);
  }
  if (!options.json.empty()) {
    return write_json(options.json, list_json(*corpus)) ? kClean : kUnusable;
  }
  std::size_t width = 0;
  for (const CorpusModule& module : *corpus) {
    width = std::max(width, module.name.size());
  }
  for (const CorpusModule& module : *corpus) {
    fmt::print("{:{}}  provides {}, consumes {}, expected: {}\n", module.name, width, module.provides, module.consumes,
               expected_text(module));
  }
  fmt::print("\nnmrfuzz hunt {}\n", corpus->empty() ? "MODULE" : corpus->back().name);
  return kClean;
}

}  // namespace nmrfuzz::fuzz
