// corpus.h - the reference modules and planted defects that come with nmrfuzz, as the head of each one's source says.
//
// A module is a source file NAME.c or NAME.cpp, or a folder NAME whose driver.c has the head; it lies in the folder
// `correct` or `planted` of the corpus. One source may be several modules, its variants, which the compiler's options
// tell apart. The head is one line "// nmrfuzz: module", then lines "// key: value":
//   summary       what it is, in a sentence
//   provides      how many NPIs it provides
//   consumes      and how many it consumes
//   expect        what is found in it: kinds of findings, any of which is right; or none
//   rule          rules that the defect breaks; or none
//   needs         what has to happen for the defect to show
//   interleaving  yes if the order of threads decides
//   hardness      how rare that is, as cmake/hardness.sh measures it: "17 schedules; 1000+ run to completion"
//   variant       NAME OPTION...: a module of that name, compiled with these options; the keys before the first variant
//                 are those of all, the keys behind a variant its own
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "contract/finding.h"

namespace nmrfuzz::fuzz {

// How many schedules it takes to find a planted defect: medians over seeds.
struct Hardness {
  std::uint32_t schedules = 0;  // of the default hunt
  std::uint32_t run_to_completion =
      0;                  // of a plain test: threads run to completion, one peer for each NPI, no failures
  bool survives = false;  // the plain test found nothing in so many schedules

  bool operator==(const Hardness&) const = default;
};

struct CorpusModule {
  std::string name;
  std::vector<std::string> sources;  // paths
  std::vector<std::string> options;  // of the variant, for the compiler
  std::string summary;
  std::uint32_t provides = 0;
  std::uint32_t consumes = 0;
  std::vector<contract::FindingKind> expected;  // empty: it is right
  std::vector<std::string> rules;
  std::string needs;
  bool interleaving = false;
  std::optional<Hardness> hardness;  // if it was measured
};

// $NMRFUZZ_CORPUS, else the one that lies beside the sources of this program.
std::string corpus_folder();

// Sorted by name. nullopt with a description in `error` if the folder or one of the heads cannot be read.
std::optional<std::vector<CorpusModule>> read_corpus(const std::string& folder, std::string& error);

// The .c and .cpp files in `folder`, sorted.
std::vector<std::string> sources_in(const std::string& folder);

}  // namespace nmrfuzz::fuzz
