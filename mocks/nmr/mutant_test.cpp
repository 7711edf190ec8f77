// mutant_test.cpp - breaks one condition of the registrar at a time and demands that the judges notice: the reference
// model, or the checks of the bench. A mutant that lives is a hole in them, or in the scenarios.
#include <gtest/gtest.h>

#include <cstdio>

#include "nmr/registrar_scenario.h"

namespace nmrfuzz::nmr {
namespace {

struct Row {
  Mutant mutant;
  const char* name;
  const char* does;
};

constexpr Row kRows[] = {
#define NMRFUZZ_MUTANT(name, broken) {Mutant::name, #name, broken},
#include "nmr/mutants.def"
#undef NMRFUZZ_MUTANT
};

// Random scenarios until one has a complaint.
std::uint64_t scenarios_to_catch(RegistrarBench& bench, Mutant mutant, std::string& complaint) {
  constexpr std::uint64_t kScenarios = 20'000;
  RegistrarScenario scenario(bench);
  schedule::RandomWalk strategy;
  for (std::uint64_t seed = 0; seed < kScenarios; ++seed) {
    const std::vector<std::string> complaints = scenario.run(strategy, seed, mutant);
    if (!complaints.empty()) {
      complaint = complaints.front();
      return seed + 1;
    }
  }
  return 0;
}

TEST(Mutants, AllAreCaught) {
  RegistrarBench bench;
  std::size_t caught = 0;
  for (const Row& row : kRows) {
    std::string complaint;
    const std::uint64_t scenarios = scenarios_to_catch(bench, row.mutant, complaint);
    EXPECT_NE(scenarios, 0U) << row.name << ", which " << row.does << ", was not caught";
    caught += scenarios != 0 ? 1 : 0;
    std::printf("%-26s %6llu scenarios  %s\n", row.name, static_cast<unsigned long long>(scenarios), complaint.c_str());
  }
  std::printf("%zu of %zu mutants caught\n", caught, std::size(kRows));
}

TEST(Mutants, NoneIsCaughtInTheProduct) {
  RegistrarBench bench;
  RegistrarScenario scenario(bench);
  schedule::RandomWalk strategy;
  for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
    ASSERT_EQ(scenario.run(strategy, seed), std::vector<std::string>())
        << "seed " << seed << ", world " << text_of(scenario.world);
  }
}

}  // namespace
}  // namespace nmrfuzz::nmr
