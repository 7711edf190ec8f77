// many_npi_test.cpp - executions with hundreds of NPIs fit into the tables that are made once, and grow no faster than
// the number of NPIs.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fuzz/corpus.h"
#include "fuzz/hunt_fixture.h"

namespace nmrfuzz::fuzz {
namespace {

constexpr std::uint64_t kSchedules = 60;

// The largest of some executions of one module.
struct Largest {
  std::uint64_t events = 0;
  std::uint64_t steps = 0;
  std::uint32_t decisions = 0;
  std::uint32_t threads = 0;
  std::uint64_t cut_short = 0;  // executions for which something was too small
};

Largest largest_of(const std::string& options_of_role, unsigned npis, std::uint64_t schedules) {
  std::vector<std::string> options = {"-DNPI_COUNT=" + std::to_string(npis), "-DNPI_ROLES=" + options_of_role};
  Hunted hunted({corpus_folder() + "/correct/many-npi.c"}, options);
  Largest largest;
  if (!hunted.usable()) {
    return largest;
  }
  EXPECT_EQ(hunted.engine().npis_provided() + hunted.engine().npis_consumed(), npis);
  for (std::uint64_t schedule = 0; schedule < schedules; ++schedule) {
    const Execution execution = hunted.run(1, schedule);
    EXPECT_FALSE(execution.finding) << "schedule " << schedule;
    largest.cut_short += execution.end != schedule::EndReason::kAllEnded ? 1 : 0;
    largest.events = std::max(largest.events, execution.events);
    largest.steps = std::max(largest.steps, execution.steps);
    largest.decisions = std::max(largest.decisions, execution.decisions);
    largest.threads = std::max(largest.threads, hunted.engine().estimate().threads);
  }
  return largest;
}

class ManyNpis : public ::testing::TestWithParam<const char*> {};

TEST_P(ManyNpis, AHalfThousandFits) {
  const Largest largest = largest_of(GetParam(), 512, kSchedules);
  EXPECT_EQ(largest.cut_short, 0U);
  EXPECT_LE(largest.events, trace::EventRing::kCapacity) << "the cause of a finding may be lost";
  EXPECT_LT(largest.decisions, schedule::kDecisionsMaximum);
  EXPECT_LT(4 * largest.threads, 2 * schedule::kThreadsMaximum) << "twice as many NPIs would not fit";
}

// What an execution does is linear in its NPIs; what that costs, module/load_unload_by_npis of nmrfuzz-bench measures.
TEST_P(ManyNpis, StepsGrowNoFasterThanNpis) {
  constexpr std::uint64_t kFactor = 8;
  const Largest few = largest_of(GetParam(), 32, kFactor * kSchedules);
  const Largest many = largest_of(GetParam(), 32 * kFactor, kSchedules);
  EXPECT_GT(many.steps, few.steps);
  EXPECT_LE(many.steps, kFactor * few.steps);
  EXPECT_LE(many.events, kFactor * few.events);
  EXPECT_LE(many.threads, kFactor * few.threads);
}

INSTANTIATE_TEST_SUITE_P(Roles, ManyNpis, ::testing::Values("NPI_PROVIDERS", "NPI_CLIENTS", "NPI_BOTH"),
                         [](const auto& info) { return std::string(info.param).substr(4); });

}  // namespace
}  // namespace nmrfuzz::fuzz
