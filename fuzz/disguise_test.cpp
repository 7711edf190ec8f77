// disguise_test.cpp - every module of the corpus against its disguise (disguise_fixture.h): a planted defect is found
// by the same schedule in the same execution, and the executions of a correct module are the same ones.
#include "fuzz/disguise_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "fuzz/corpus.h"
#include "fuzz/hunt_fixture.h"
#include "module/content_hash.h"

namespace nmrfuzz::fuzz {

static void PrintTo(const CorpusModule& module, std::ostream* out) { *out << module.name; }

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::uint64_t kSchedulesToFind = 10'000;
constexpr std::uint64_t kSchedulesToCompare = 200;
constexpr std::uint32_t kNpisMaximum = 16;  // modules with more take their time, and have a variant with fewer

// What one schedule did.
struct Ran {
  std::uint64_t schedule = 0;
  std::string verdict;  // kind and rule; empty if there was no finding
  trace::TraceHash hash = 0;

  bool operator==(const Ran&) const = default;
};

void PrintTo(const Ran& ran, std::ostream* out) {
  *out << "schedule " << ran.schedule << " '" << ran.verdict << "' " << std::hex << ran.hash << std::dec;
}

// Gives the trace hash of the latest execution; nullopt if it cannot be told any more.
using Hashing = std::optional<trace::TraceHash> (*)(const Execution&, const trace::EventRing&, const Disguise&);

std::optional<trace::TraceHash> hash_as_it_is(const Execution& execution, const trace::EventRing&, const Disguise&) {
  return execution.hash;
}

// What the hash would be if the module had the pool tags of its disguise: they are all that events show of its names.
std::optional<trace::TraceHash> hash_with_other_tags(const Execution& execution, const trace::EventRing& ring,
                                                     const Disguise& disguise) {
  if (execution.events > trace::EventRing::kCapacity) {
    return std::nullopt;
  }
  trace::TraceHash hash = trace::kEmptyHash;
  for (trace::Event event : std::span(ring.events).first(static_cast<std::size_t>(execution.events))) {
    event.a = disguise.tag(event.a);
    event.b = disguise.tag(event.b);
    hash = trace::extend(hash, event);
  }
  return hash;
}

// Runs schedules up to the first finding of a planted defect; always the same number of a correct module.
std::vector<Ran> runs(const CorpusModule& module, const std::vector<std::string>& sources, const Disguise& disguise,
                      Hashing hashing) {
  std::vector<Ran> all;
  Hunted hunted(sources, module.options);
  const std::uint64_t schedules = module.expected.empty() ? kSchedulesToCompare : kSchedulesToFind;
  for (std::uint64_t schedule = 0; hunted.usable() && schedule < schedules; ++schedule) {
    const Execution execution = hunted.run(kSeed, schedule);
    if (module.expected.empty() || execution.finding) {
      const auto hash = hashing(execution, hunted.events(), disguise);
      EXPECT_TRUE(hash) << "too many events in schedule " << schedule;
      all.push_back({schedule, "", hash.value_or(0)});
    }
    if (execution.finding) {
      all.back().verdict =
          std::string(contract::name_of(execution.finding->kind)) + " " + std::string(execution.finding->rule);
      break;
    }
  }
  return all;
}

std::vector<CorpusModule> modules() {
  std::string error;
  auto all = read_corpus(corpus_folder(), error);
  if (!all) {
    std::fprintf(stderr, "%s\n", error.c_str());
    std::abort();
  }
  std::erase_if(*all, [](const CorpusModule& module) { return module.provides + module.consumes > kNpisMaximum; });
  return *all;
}

class DisguisedModule : public ::testing::TestWithParam<CorpusModule> {};

TEST_P(DisguisedModule, RunsTheSameExecutions) {
  const CorpusModule& corpus_module = GetParam();
  // Always the same folder, so that the compiled disguise is in the cache; one that does not tell who it is.
  module::ContentHash hash;
  hash.add(corpus_module.name);
  const std::string folder = NMRFUZZ_BINARY_DIR "/tests/disguised/" + hash.hex();
  const Disguise disguise(corpus_module.sources, corpus_module.options, folder);
  constexpr std::size_t kFewNames = 10;
  EXPECT_GT(disguise.renamed(), kFewNames);
  EXPECT_GT(disguise.guids(), 0U);
  const std::vector<Ran> expected = runs(corpus_module, corpus_module.sources, disguise, hash_with_other_tags);
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(expected.back().verdict.empty(), corpus_module.expected.empty()) << expected.back().verdict;
  EXPECT_EQ(runs(corpus_module, disguise.sources(), disguise, hash_as_it_is), expected);
}

INSTANTIATE_TEST_SUITE_P(Corpus, DisguisedModule, ::testing::ValuesIn(modules()), [](const auto& info) {
  std::string name = info.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace nmrfuzz::fuzz
