#include "schedule/random_walk.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace nmrfuzz::schedule {
namespace {

std::vector<std::uint32_t> answers(RandomWalk& random, std::uint64_t seed) {
  const std::vector<ThreadNumber> runnable = {4, 9, 2};
  random.begin(seed);
  std::vector<std::uint32_t> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(random.pick({runnable, 4, nullptr}));
    all.push_back(random.choose(1000, ChoiceKind::kFault));
  }
  return all;
}

TEST(RandomWalk, OneSeedOneSequence) {
  RandomWalk random;
  std::set<std::vector<std::uint32_t>> seen;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    EXPECT_TRUE(seen.insert(answers(random, seed)).second) << "seed " << seed << " repeats another";
  }
  RandomWalk other;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(answers(random, seed), answers(other, seed));
  }
}

// 30,000 draws among n: each alternative's share is within five standard deviations.
TEST(RandomWalk, AnswersAreUniform) {
  constexpr int kDraws = 30'000;
  RandomWalk random;
  for (const std::uint32_t n : {2U, 3U, 5U, 8U, 17U}) {
    std::vector<ThreadNumber> runnable;
    for (std::uint32_t i = 0; i < n; ++i) {
      runnable.push_back(static_cast<ThreadNumber>(3 * i));
    }
    random.begin(n);
    std::map<std::uint32_t, int> picks;
    std::map<std::uint32_t, int> choices;
    for (int i = 0; i < kDraws; ++i) {
      ++picks[random.pick({runnable, 0, nullptr})];
      ++choices[random.choose(n, ChoiceKind::kWorld)];
    }
    const double expected = static_cast<double>(kDraws) / n;
    for (std::uint32_t i = 0; i < n; ++i) {
      EXPECT_NEAR(picks[3 * i], expected, 5 * std::sqrt(expected)) << n;
      EXPECT_NEAR(choices[i], expected, 5 * std::sqrt(expected)) << n;
    }
    EXPECT_EQ(picks.size(), n);
    EXPECT_EQ(choices.size(), n);
  }
}

// The first draw under neighbouring seeds, which is how schedules are numbered, is uniform as well.
TEST(RandomWalk, NeighbouringSeedsAreUnrelated) {
  RandomWalk random;
  int ones = 0;
  int changes = 0;
  std::uint32_t before = 0;
  for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
    random.begin(seed);
    const std::uint32_t bit = random.choose(2, ChoiceKind::kWorld);
    ones += static_cast<int>(bit);
    changes += bit != before ? 1 : 0;
    before = bit;
  }
  EXPECT_NEAR(ones, 5000, 250);
  EXPECT_NEAR(changes, 5000, 250);
}

TEST(RandomBits, SeedsOfSchedulesDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    for (std::uint64_t schedule = 0; schedule < 1000; ++schedule) {
      seen.insert(seed_of_schedule(seed, schedule));
    }
  }
  EXPECT_EQ(seen.size(), 30'000U);
}

}  // namespace
}  // namespace nmrfuzz::schedule
