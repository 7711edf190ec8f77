#include "fuzz/fault_sweep.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace nmrfuzz::fuzz {
namespace {

TEST(FaultSweep, FailsEachCallAloneThenEachPair) {
  constexpr std::uint32_t kCalls = 5;
  const FaultSweep sweep(kCalls);
  std::map<std::array<std::uint16_t, 2>, std::uint32_t> times;
  std::map<std::array<std::uint16_t, 2>, std::uint32_t> plain;
  for (std::uint64_t schedule = 0; schedule < sweep.size(); ++schedule) {
    const auto step = sweep.step(schedule);
    ASSERT_TRUE(step);
    EXPECT_EQ(step->faults.mode, FaultMode::kPlanned);
    ++times[step->faults.calls];
    plain[step->faults.calls] += step->plain ? 1 : 0;
    EXPECT_EQ(step->faults.calls[1] == 0, schedule < std::uint64_t{kCalls} * FaultSweep::kAlone);
  }
  EXPECT_FALSE(sweep.step(sweep.size()));
  EXPECT_EQ(times.size(), kCalls + kCalls * (kCalls - 1) / 2);
  for (const auto& [calls, count] : times) {
    EXPECT_TRUE(calls[1] == 0 || calls[0] < calls[1]);
    EXPECT_EQ(count, calls[1] == 0 ? FaultSweep::kAlone : FaultSweep::kTogether);
    EXPECT_EQ(plain[calls], 1U) << "once with nothing else in its way";
  }
}

TEST(FaultSweep, NothingToFailIsNoSweep) {
  EXPECT_EQ(FaultSweep(0).size(), 0U);
  EXPECT_EQ(FaultSweep(1).size(), FaultSweep::kAlone);
}

TEST(FaultSweep, OfTooManyPairsTakesSomeFromEverywhere) {
  constexpr std::uint32_t kCalls = 1000;
  const FaultSweep sweep(kCalls);
  EXPECT_EQ(sweep.pairs(), FaultSweep::kPairsMaximum);
  std::set<std::uint16_t> firsts;
  for (std::uint64_t schedule = kCalls * FaultSweep::kAlone; schedule < sweep.size(); ++schedule) {
    firsts.insert(sweep.step(schedule)->faults.calls[0]);
  }
  EXPECT_GT(firsts.size(), kCalls * 8 / 10);
}

}  // namespace
}  // namespace nmrfuzz::fuzz
