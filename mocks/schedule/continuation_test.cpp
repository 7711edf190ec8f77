// continuation_test.cpp - programs that are right must come to their end under every strategy, however short its input:
// a step limit that a starved thread runs into would be reported as the module's livelock.
#include "schedule/continuation.h"

#include <gtest/gtest.h>

#include "schedule/byte_source.h"
#include "schedule/pct.h"
#include "schedule/random_walk.h"
#include "schedule/replay.h"
#include "schedule/run_to_completion.h"
#include "schedule/scheduler_fixture.h"

namespace nmrfuzz::schedule {
namespace {

// What one thread waits for and another, or the clock, brings about.
struct Shared {
  Machine& machine;
  int flag = 0;
  Scheduler& scheduler() { return machine.scheduler; }
  static Shared& of(void* argument) { return *static_cast<Shared*>(argument); }
};

void spin(void* argument) {
  while (Shared::of(argument).flag == 0) {
    Shared::of(argument).scheduler().point({});
  }
}
void spin_and_yield(void* argument) {
  while (Shared::of(argument).flag == 0) {
    Shared::of(argument).scheduler().yield({});
  }
}
void set_after_three_points(void* argument) {
  for (int i = 0; i < 3; ++i) {
    Shared::of(argument).scheduler().point({});
  }
  Shared::of(argument).flag = 1;
}
void tick_for_ever(void* argument, std::uint64_t) {
  Scheduler& scheduler = Shared::of(argument).scheduler();
  scheduler.arm(scheduler.now() + 1, &tick_for_ever, argument, 0);
}
void two_periodic_timers(void* argument) {
  tick_for_ever(argument, 0);
  tick_for_ever(argument, 0);
  set_after_three_points(argument);
}
void set_by_timer(void* argument) {
  Shared::of(argument).scheduler().arm(
      100, [](void* context, std::uint64_t) { Shared::of(context).flag = 1; }, argument, 0);
}
// The timer that ends the waiting is due behind more ticks than an execution has while others can run.
void set_by_the_fiftieth_tick(void* argument) {
  Shared::of(argument).scheduler().arm(
      50, [](void* context, std::uint64_t) { Shared::of(context).flag = 1; }, argument, 0);
  tick_for_ever(argument, 0);
}
void wait_until_idle(void* argument) { Shared::of(argument).scheduler().wait_until_idle(); }

struct FairRow {
  const char* name;
  std::vector<ThreadBody> bodies;
};
const std::vector<FairRow>& fair_rows() {
  static const std::vector<FairRow> rows = {
      {"a spin loop that yields", {&spin_and_yield, &set_after_three_points}},
      {"a spin loop that does not", {&spin, &set_after_three_points}},
      {"several of each", {&spin, &spin_and_yield, &spin, &spin_and_yield, &set_after_three_points}},
      {"periodic timers", {&two_periodic_timers, &spin}},
      {"periodic timers, a thread that never blocks", {&two_periodic_timers, &spin_and_yield, &spin}},
      {"the clock sets it", {&set_by_timer, &spin, &spin_and_yield}},
      {"the clock sets it late", {&set_by_the_fiftieth_tick, &spin, &spin_and_yield}},
      {"somebody waits for idleness meanwhile", {&wait_until_idle, &spin, &set_after_three_points}},
  };
  return rows;
}

void expect_end(Strategy& strategy, const FairRow& row, std::uint64_t seed, std::uint64_t limit) {
  static Machine machine;
  Shared shared{machine};
  const EndReason reason = machine.run(
      strategy, seed,
      [&] {
        for (const ThreadBody body : row.bodies) {
          machine.scheduler.spawn(ThreadRole::kTest, body, &shared);
        }
      },
      limit);
  EXPECT_EQ(reason, EndReason::kAllEnded) << strategy.name() << ": " << row.name << ", seed " << seed;
}

TEST(Fairness, NoStrategyStarvesAThread) {
  constexpr std::uint64_t kLimit = kStepLimitDefault;
  RandomWalk random;
  Pct pct(0, {});
  Pct pct_one(1, {});
  RunToCompletion to_completion;
  for (const FairRow& row : fair_rows()) {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      for (Strategy* const strategy : {static_cast<Strategy*>(&random), static_cast<Strategy*>(&pct),
                                       static_cast<Strategy*>(&pct_one), static_cast<Strategy*>(&to_completion)}) {
        expect_end(*strategy, row, seed, kLimit);
      }
      const std::uint8_t bytes[] = {static_cast<std::uint8_t>(seed), static_cast<std::uint8_t>(seed >> 1),
                                    static_cast<std::uint8_t>(seed >> 3), static_cast<std::uint8_t>(seed >> 5)};
      for (std::size_t length = 0; length <= 4; ++length) {
        ByteSource source({bytes, length});
        expect_end(source, row, seed, kLimit);
      }
      const std::uint16_t decisions[] = {static_cast<std::uint16_t>(seed % 5),
                                         static_cast<std::uint16_t>(seed / 5 % 5)};
      for (std::size_t length = 0; length <= 2; ++length) {
        Replay replay({decisions, length});
        expect_end(replay, row, seed, kLimit);
      }
    }
  }
}

TEST(Continuation, GoesRoundByNumberTheClockInItsTurn) {
  const std::vector<ThreadNumber> runnable = {5, kClock, 2, 9};
  Continuation rest;
  rest.reset();
  ThreadNumber current = 5;
  std::vector<ThreadNumber> turns;
  for (std::uint32_t i = 0; i < 6 * (Continuation::kPatience + 1); ++i) {
    const ThreadNumber next = rest.pick({runnable, current, nullptr});
    if (turns.empty() || turns.back() != next) {
      turns.push_back(next);
    }
    current = next != kClock ? next : current;
  }
  ASSERT_GE(turns.size(), 6U);
  turns.resize(6);
  EXPECT_EQ(turns, (std::vector<ThreadNumber>{5, 9, 0, 2, 5, 9}));
}

}  // namespace
}  // namespace nmrfuzz::schedule
