#include "schedule/pct.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "schedule/random_walk.h"
#include "schedule/scheduler_fixture.h"

namespace nmrfuzz::schedule {
namespace {

// --- The odds ---------------------------------------------------------------------------------------------------------

// Threads A, B, C that count their progress; what each saw of the others when it began and when it ended.
struct Race {
  static constexpr int kThreads = 3;
  struct Progress {
    int points = 0;  // how many it makes
    int made = 0;
    int seen_at_begin[kThreads] = {};
    int seen_at_end[kThreads] = {};
  };
  Machine machine;
  Progress threads[kThreads];
  bool began[kThreads] = {};

  void look(int (&seen)[kThreads]) const {
    for (int i = 0; i < kThreads; ++i) {
      seen[i] = began[i] ? threads[i].made : -1;
    }
  }
  void run(Strategy& strategy, std::uint64_t seed, std::initializer_list<int> points) {
    machine.run(strategy, seed, [&] {
      int index = 0;
      for (const int count : points) {
        threads[index] = {};
        threads[index].points = count;
        began[index] = false;
        ++index;
        machine.scheduler.spawn(ThreadRole::kTest, &body, this);
      }
    });
  }
  static void body(void* argument) {
    Race& race = *static_cast<Race*>(argument);
    Scheduler& scheduler = race.machine.scheduler;
    const int self = scheduler.current().number - 1;
    Progress& mine = race.threads[self];
    race.began[self] = true;
    race.look(mine.seen_at_begin);
    for (int i = 0; i < mine.points; ++i) {
      scheduler.point({});
      ++mine.made;
    }
    race.look(mine.seen_at_end);
  }
};

constexpr int kA = 0;
constexpr int kB = 1;
constexpr int kC = 2;

// Depth 1: C is through before A and B begin.
bool c_comes_first(const Race& race) {
  return race.threads[kC].seen_at_end[kA] == -1 && race.threads[kC].seen_at_end[kB] == -1;
}
// Depth 2: all of B lies between two particular points of A.
template <int kAfter>
bool b_lies_within_a(const Race& race) {
  return race.threads[kB].seen_at_begin[kA] == kAfter && race.threads[kB].seen_at_end[kA] == kAfter;
}
// Depth 3: all of C lies between two points of A and two of B, and then B ends before A goes on.
bool c_lies_within_a_and_b(const Race& race) {
  const Race::Progress& b = race.threads[kB];
  const Race::Progress& c = race.threads[kC];
  return c.seen_at_begin[kA] == 2 && c.seen_at_end[kA] == 2 && c.seen_at_begin[kB] == 2 && c.seen_at_end[kB] == 2 &&
         b.seen_at_end[kA] == 2;
}

struct OddsRow {
  const char* name;
  std::uint32_t depth;
  std::uint32_t decisions;  // k, as estimated
  std::initializer_list<int> points;
  bool (*defect)(const Race&);
  double odds;   // worked out below
  double bound;  // 1 / (n k^(d-1))
  double random_odds;
};

// Decision 1 picks the first thread; while several can run, each point is one decision more. A change point lies in
// 1..k/2, 1..k or 1..2k, a third of the executions each.
//  1. The initial order decides: C is on top in 1 of 3. The walk has to pick C at the start and at both points: 1/3^3.
//  2. A above B: 1/2; the change point must be decision 5, at A's fourth point: 1/3 (1/11 + 1/22 + 1/44) = 7/132.
//     The walk: A at the start and at three points, then B, and B again at its ten points: 1/2^15.
//  3. As 2 with k = 12 and decision 10, which the short range does not reach: 1/2 * 1/3 (1/12 + 1/24). Half the bound.
//     The walk: 1/2^(1 + 8 + 1 + 10).
//  4. C below A and B: 1/3. A, B in this order: decision 4 must be the change point of the lower value, decision 7,
//  three
//     points later in B, that of the higher; B, A: the other way round. Each time one pair of draws:
//     1/3 (1/8^2 + 1/16^2 + 1/32^2) = 7/1024. The walk: less than 1/3^8 for the first seven decisions and C's points.
const OddsRow kOddsRows[] = {
    {"depth 1", 1, 16, {4, 4, 2}, &c_comes_first, 1.0 / 3, 1.0 / 3, 1.0 / 27},
    {"depth 2, early", 2, 22, {10, 10}, &b_lies_within_a<3>, 7.0 / 264, 1.0 / (2 * 22), 1.0 / 32'768},
    {"depth 2, late", 2, 12, {10, 10}, &b_lies_within_a<8>, 1.0 / 48, 1.0 / (2 * 2 * 12), 1.0 / 1'048'576},
    {"depth 3", 3, 16, {10, 10, 2}, &c_lies_within_a_and_b, 7.0 / 3072, 1.0 / (3 * 16 * 16), 1.0 / 6561},
};

double frequency(Race& race, Strategy& strategy, const OddsRow& row, std::uint64_t seeds) {
  std::uint64_t found = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    race.run(strategy, seed, row.points);
    found += row.defect(race) ? 1 : 0;
  }
  return static_cast<double>(found) / static_cast<double>(seeds);
}

TEST(Pct, FindsADefectOfDepthDWithItsGuaranteedOdds) {
  constexpr std::uint64_t kSeeds = 50'000;
  Race race;
  RandomWalk random;
  for (const OddsRow& row : kOddsRows) {
    Pct pct(row.depth, {static_cast<std::uint32_t>(row.points.size()), row.decisions});
    const double found = frequency(race, pct, row, kSeeds);
    const double deviation = std::sqrt(row.odds / kSeeds);
    EXPECT_NEAR(found, row.odds, 5 * deviation) << row.name;
    EXPECT_GE(found, row.bound - 3 * deviation) << row.name;
    const double walked = frequency(race, random, row, kSeeds);
    EXPECT_LE(walked, row.random_odds + 5 * std::sqrt(row.random_odds / kSeeds)) << row.name;
    EXPECT_LT(walked * 5, found) << row.name << ": the random walk is as good";
  }
}

TEST(Pct, OneSeedOneExecutionWhateverCameBefore) {
  Machine machine;
  BusyProgram program(machine);
  Pct pct(0, {});
  std::vector<trace::TraceHash> first;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const EndReason reason = machine.run(pct, seed, [&] { program.prepare(); });
    ASSERT_TRUE(reason == EndReason::kAllEnded || reason == EndReason::kStopped);
    first.push_back(machine.recorder.hash());
  }
  for (std::uint64_t seed = 1000; seed-- > 0;) {
    machine.run(pct, seed, [&] { program.prepare(); });
    ASSERT_EQ(machine.recorder.hash(), first[seed]) << "seed " << seed;
  }
}

// --- The bookkeeping --------------------------------------------------------------------------------------------------

Choices anything() {
  static const std::vector<ThreadNumber> ignored = {1, 2};
  return {ignored, kClock, nullptr};
}

TEST(Pct, PrioritiesAreUnique) {
  constexpr ThreadNumber kMany = 1000;
  Pct pct(1, {});
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    pct.begin(seed);
    for (ThreadNumber thread = 1; thread <= kMany; ++thread) {
      pct.on_started(thread);
      pct.on_runnable(thread);
    }
    std::set<ThreadNumber> picked;
    for (ThreadNumber i = 0; i < kMany; ++i) {
      const ThreadNumber next = pct.pick(anything());
      ASSERT_TRUE(picked.insert(next).second) << "two threads have one priority";
      pct.on_not_runnable(next);
    }
  }
}

// Whoever yielded longest ago is the first of those that have yielded: also when the low band has been used up and is
// compacted, which happens every thousand yields here.
TEST(Pct, ThreadsThatYieldTakeTurns) {
  constexpr std::size_t kMany = 1000;
  Pct pct(1, {});
  pct.begin(1);
  for (std::size_t thread = 1; thread <= kMany; ++thread) {
    pct.on_started(static_cast<ThreadNumber>(thread));
    pct.on_runnable(static_cast<ThreadNumber>(thread));
  }
  std::vector<ThreadNumber> order;
  for (std::size_t i = 0; i < 20 * kMany; ++i) {
    order.push_back(pct.pick(anything()));
    ASSERT_EQ(order.back(), order[i % kMany]) << "turn " << i;
    pct.on_yield(order.back());
  }
}

TEST(Pct, AReusedNumberIsANewThread) {
  Pct pct(1, {});
  pct.begin(3);
  pct.on_started(1);
  pct.on_runnable(1);
  int on_top = 0;
  for (int life = 0; life < 10'000; ++life) {
    pct.on_started(2);
    pct.on_runnable(2);
    const ThreadNumber next = pct.pick(anything());
    ASSERT_TRUE(next == 1 || next == 2);
    on_top += next == 2 ? 1 : 0;
    pct.on_yield(2);  // and is not held against its successor
    pct.on_not_runnable(2);
  }
  EXPECT_GT(on_top, 100);
  EXPECT_LT(on_top, 9900);
}

}  // namespace
}  // namespace nmrfuzz::schedule
