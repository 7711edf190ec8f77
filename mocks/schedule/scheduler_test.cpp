#include "schedule/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "schedule/random_walk.h"
#include "schedule/replay.h"
#include "schedule/scheduler_fixture.h"

namespace nmrfuzz::schedule {
namespace {

using trace::Event;
using trace::EventKind;

// --- Which interleavings there are ------------------------------------------------------------------------------------

// Threads that each append their letter `appends` times, every time behind a scheduling point.
struct Letters {
  Machine& machine;
  std::uint32_t appends;
  std::string written;

  EndReason run(Strategy& strategy, std::uint64_t seed, std::uint32_t threads) {
    written.clear();
    return machine.run(strategy, seed, [&] {
      for (std::uint32_t i = 0; i < threads; ++i) {
        machine.scheduler.spawn(ThreadRole::kTest, &body, this);
      }
    });
  }
  static void body(void* argument) {
    auto& letters = *static_cast<Letters*>(argument);
    Scheduler& scheduler = letters.machine.scheduler;
    for (std::uint32_t i = 0; i < letters.appends; ++i) {
      scheduler.point({});
      letters.written.push_back(static_cast<char>('a' + scheduler.current().number - 1));
      scheduler.write(scheduler.event(EventKind::kCall));
    }
  }
};

// Walks the whole tree of decisions, depth first.
class Enumerate final : public Strategy {
 public:
  std::string_view name() const override { return "enumerate"; }
  void begin(std::uint64_t) override { depth_ = 0; }
  ThreadNumber pick(const Choices& choices) override {
    std::vector<ThreadNumber> sorted(choices.runnable.begin(), choices.runnable.end());
    std::sort(sorted.begin(), sorted.end());
    return sorted[answer(static_cast<std::uint32_t>(sorted.size()))];
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind) override { return answer(alternatives); }
  // Moves on to the next path; false after the last.
  bool next() {
    while (!path_.empty() && ++path_.back().first == path_.back().second) {
      path_.pop_back();
    }
    return !path_.empty();
  }

 private:
  std::uint32_t answer(std::uint32_t alternatives) {
    EXPECT_GE(alternatives, 2U) << "asked where there is only one answer";
    if (depth_ == path_.size()) {
      path_.emplace_back(0, alternatives);
    }
    EXPECT_EQ(path_[depth_].second, alternatives) << "the same answers lead elsewhere";
    return path_[depth_++].first;
  }
  std::vector<std::pair<std::uint32_t, std::uint32_t>> path_;
  std::size_t depth_ = 0;
};

struct LettersRow {
  std::uint32_t threads;
  std::uint32_t appends;
  std::size_t words;  // orders of the letters: (threads * appends)! / appends!^threads
  std::size_t paths;  // orders of the pieces between points, one more a thread
};
constexpr LettersRow kLettersRows[] = {{1, 3, 1, 1},  {2, 1, 2, 6},     {2, 2, 6, 20},   {2, 3, 20, 70},
                                       {3, 1, 6, 90}, {3, 2, 90, 1680}, {4, 1, 24, 2520}};

TEST(Scheduler, TheDecisionTreeIsExactlyTheInterleavings) {
  Machine machine;
  for (const LettersRow& row : kLettersRows) {
    Letters letters{machine, row.appends, {}};
    Enumerate enumerate;
    std::set<std::string> words;
    std::set<trace::TraceHash> hashes;
    std::size_t paths = 0;
    do {
      ASSERT_EQ(letters.run(enumerate, 0, row.threads), EndReason::kAllEnded);
      words.insert(letters.written);
      hashes.insert(machine.recorder.hash());
      ++paths;
    } while (enumerate.next());
    EXPECT_EQ(paths, row.paths) << row.threads << " threads, " << row.appends << " appends";
    EXPECT_EQ(hashes.size(), row.paths) << "two interleavings have one hash";
    EXPECT_EQ(words.size(), row.words);
  }
}

TEST(Scheduler, RandomWalkReachesEveryInterleaving) {
  Machine machine;
  RandomWalk random;
  for (const LettersRow& row : kLettersRows) {
    Letters letters{machine, row.appends, {}};
    std::set<trace::TraceHash> hashes;
    for (std::uint64_t seed = 0; seed < 200'000 && hashes.size() < row.paths; ++seed) {
      letters.run(random, seed, row.threads);
      hashes.insert(machine.recorder.hash());
    }
    EXPECT_EQ(hashes.size(), row.paths) << row.threads << " threads, " << row.appends << " appends";
  }
}

TEST(Scheduler, StepsCountEveryPointAndDecisionsOnlyThoseWithAlternatives) {
  Machine machine;
  RandomWalk random;
  Letters alone{machine, 5, {}};
  alone.run(random, 1, 1);
  EXPECT_EQ(machine.scheduler.steps(), 5U);
  EXPECT_EQ(machine.scheduler.decisions(), 0U);
  Letters two{machine, 5, {}};
  two.run(random, 1, 2);
  EXPECT_EQ(machine.scheduler.steps(), 10U);
  EXPECT_GE(machine.scheduler.decisions(), 6U);
  EXPECT_LE(machine.scheduler.decisions(), 11U);
}

// --- How executions end -----------------------------------------------------------------------------------------------

// A table of thread bodies that need nothing but the scheduler.
Scheduler& scheduler_of(void* argument) { return static_cast<Machine*>(argument)->scheduler; }
void block_for_ever(void* argument) { scheduler_of(argument).block(7); }
void spin_for_ever(void* argument) {
  for (;;) {
    scheduler_of(argument).point({});
  }
}
void two_points(void* argument) {
  scheduler_of(argument).point({});
  scheduler_of(argument).point({});
}
void periodic(void* argument, std::uint64_t period) {
  Scheduler& scheduler = scheduler_of(argument);
  scheduler.arm(scheduler.now() + period, &periodic, argument, period);
}
void start_periodic_and_block(void* argument) {
  periodic(argument, 10);
  block_for_ever(argument);
}
void stop(void* argument) { scheduler_of(argument).end(EndReason::kStopped); }
void stop_in_timer(void* argument, std::uint64_t) { stop(argument); }
void arm_stop_and_block(void* argument) {
  scheduler_of(argument).arm(5, &stop_in_timer, argument, 0);
  block_for_ever(argument);
}
void arm_stop_and_return(void* argument) { scheduler_of(argument).arm(5, &stop_in_timer, argument, 0); }
void spawn_without_end(void* argument) {
  for (;;) {
    scheduler_of(argument).spawn(ThreadRole::kTest, &block_for_ever, argument);
  }
}
void arm_without_end(void* argument) {
  for (;;) {
    scheduler_of(argument).arm(1, &periodic, argument, 1);
  }
}
void exit_early(void* argument) {
  scheduler_of(argument).point({});
  scheduler_of(argument).exit_thread();
}

struct EndRow {
  const char* name;
  std::vector<ThreadBody> bodies;
  EndReason reason;
  EventKind last;   // kind of the last event
  std::uint64_t a;  // its a
};
const std::vector<EndRow>& end_rows() {
  static const std::vector<EndRow> rows = {
      {"all end", {&two_points, &two_points}, EndReason::kAllEnded, EventKind::kThreadEnd, 0},
      {"all exit", {&exit_early, &exit_early}, EndReason::kAllEnded, EventKind::kThreadEnd, 0},
      {"one waits", {&block_for_ever}, EndReason::kDeadlock, EventKind::kDeadlock, 1},
      {"all wait", {&block_for_ever, &block_for_ever, &block_for_ever}, EndReason::kDeadlock, EventKind::kDeadlock, 3},
      {"one ends, two wait",
       {&two_points, &block_for_ever, &block_for_ever},
       EndReason::kDeadlock,
       EventKind::kDeadlock,
       2},
      {"one exits, one waits", {&exit_early, &block_for_ever}, EndReason::kDeadlock, EventKind::kDeadlock, 1},
      {"one spins", {&spin_for_ever}, EndReason::kStepLimit, EventKind::kStepLimit, 1001},
      {"two spin", {&spin_for_ever, &spin_for_ever}, EndReason::kStepLimit, EventKind::kStepLimit, 1001},
      {"one spins, one waits", {&spin_for_ever, &block_for_ever}, EndReason::kStepLimit, EventKind::kStepLimit, 1001},
      {"only the clock goes on", {&start_periodic_and_block}, EndReason::kStepLimit, EventKind::kStepLimit, 1001},
      {"stopped by a thread", {&stop, &spin_for_ever, &block_for_ever}, EndReason::kStopped, EventKind::kNone, 0},
      {"stopped by a timer", {&arm_stop_and_block, &spin_for_ever}, EndReason::kStopped, EventKind::kTimePasses, 5},
      {"stopped by a timer on an ended thread's stack",
       {&arm_stop_and_return, &block_for_ever},
       EndReason::kStopped,
       EventKind::kTimePasses,
       5},
      {"too many threads", {&spawn_without_end}, EndReason::kOutOfThreads, EventKind::kThreadStart, 7},
      {"too many timers", {&arm_without_end}, EndReason::kOutOfThreads, EventKind::kNone, 0},
  };
  return rows;
}

TEST(Scheduler, EveryEndIsReported) {
  Machine machine;
  RandomWalk random;
  for (const EndRow& row : end_rows()) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      const EndReason reason = machine.run(
          random, seed,
          [&] {
            for (const ThreadBody body : row.bodies) {
              machine.scheduler.spawn(ThreadRole::kTest, body, &machine);
            }
          },
          1000);
      ASSERT_EQ(reason, row.reason) << row.name << ", seed " << seed;
      if (row.last != EventKind::kNone) {
        const Event last = machine.recorder.at(machine.recorder.size() - 1);
        ASSERT_EQ(last.kind, row.last) << row.name << ", seed " << seed;
        ASSERT_EQ(last.a, row.a) << row.name << ", seed " << seed;
      }
    }
  }
}

// With many threads at once an execution may take longer; not for ever, and not because there were many in turn.
TEST(Scheduler, ManyThreadsHaveMoreSteps) {
  constexpr std::uint64_t kLimit = 1000;
  const auto steps_with = [](std::uint64_t waiting) {
    Machine machine;
    RandomWalk random;
    const EndReason reason = machine.run(
        random, 1,
        [&] {
          for (std::uint64_t i = 0; i < waiting; ++i) {
            machine.scheduler.spawn(ThreadRole::kTest, &block_for_ever, &machine);
          }
          machine.scheduler.spawn(ThreadRole::kTest, &spin_for_ever, &machine);
        },
        kLimit);
    EXPECT_EQ(reason, EndReason::kStepLimit);
    return machine.scheduler.steps();
  };
  EXPECT_EQ(steps_with(kThreadsPerStepLimit - 3), kLimit + 1);
  EXPECT_EQ(steps_with(kThreadsPerStepLimit), 2 * kLimit + 1);
  EXPECT_EQ(steps_with(kThreadsMaximum - 3), kStepLimitsMaximum * kLimit + 1);
}

TEST(Scheduler, NothingSpawnedIsAllEnded) {
  Machine machine;
  RandomWalk random;
  EXPECT_EQ(machine.run(random, 1, [] {}), EndReason::kAllEnded);
  EXPECT_EQ(machine.recorder.size(), 0U);
}

// A hundred thousand ticks in a row on one small stack.
TEST(Scheduler, TicksDoNotNest) {
  Machine machine;
  RandomWalk random;
  const EndReason reason = machine.run(
      random, 1, [&] { machine.scheduler.spawn(ThreadRole::kTest, &start_periodic_and_block, &machine); }, 200'000);
  EXPECT_EQ(reason, EndReason::kStepLimit);
  EXPECT_EQ(machine.scheduler.now(), 2'000'000U);
}

// An observer may end the execution at any event, those written in the middle of a switch included.
class StopAt final : public trace::Observer {
 public:
  explicit StopAt(Machine& machine) : machine_(machine) { machine.recorder.subscribe_all(*this); }
  ~StopAt() override { machine_.recorder.unsubscribe(*this); }
  void on_event(const Event&) override {
    if (machine_.recorder.size() == at) {
      machine_.scheduler.end(EndReason::kStopped);
    }
  }
  std::uint64_t at = 0;

 private:
  Machine& machine_;
};

TEST(Scheduler, AnyEventMayBeTheLast) {
  Machine machine;
  BusyProgram program(machine);
  program.may_stop = false;
  StopAt observer(machine);
  RandomWalk random;
  constexpr std::uint64_t kFromOutside = 5;  // the first five threads are spawned before there is an execution
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    observer.at = 0;
    ASSERT_EQ(machine.run(random, seed, [&] { program.prepare(); }), EndReason::kAllEnded);
    const std::uint64_t length = machine.recorder.size();
    const trace::TraceHash hash = machine.recorder.hash();
    for (observer.at = kFromOutside + 1; observer.at <= length; ++observer.at) {
      ASSERT_EQ(machine.run(random, seed, [&] { program.prepare(); }), EndReason::kStopped);
      ASSERT_EQ(machine.recorder.size(), observer.at) << "something was written after the end";
    }
    observer.at = 0;
    ASSERT_EQ(machine.run(random, seed, [&] { program.prepare(); }), EndReason::kAllEnded);
    ASSERT_EQ(machine.recorder.hash(), hash);
  }
}

// --- Idleness, time ---------------------------------------------------------------------------------------------------

struct Notes {
  Machine& machine;
  std::vector<std::string> lines;
  Scheduler& scheduler() { return machine.scheduler; }
  static Notes& of(void* argument) { return *static_cast<Notes*>(argument); }
};

TEST(Scheduler, IdleWaitersWakeInOrderWhenNobodyElseCanRun) {
  Machine machine;
  RandomWalk random;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Notes notes{machine, {}};
    const ThreadBody busy = [](void* argument) {
      two_points(&Notes::of(argument).machine);
      Notes::of(argument).lines.push_back("busy");
    };
    const ThreadBody waiter = [](void* argument) {
      Notes& mine = Notes::of(argument);
      mine.lines.push_back("waits" + std::to_string(mine.scheduler().current().number));
      mine.scheduler().wait_until_idle();
      mine.lines.push_back("idle" + std::to_string(mine.scheduler().current().number));
      two_points(&mine.machine);  // the next waiter stays asleep meanwhile
      mine.lines.push_back("ends" + std::to_string(mine.scheduler().current().number));
    };
    const EndReason reason = machine.run(random, seed, [&] {
      for (const ThreadBody body : {waiter, busy, waiter, busy}) {
        machine.scheduler.spawn(ThreadRole::kTest, body, &notes);
      }
    });
    ASSERT_EQ(reason, EndReason::kAllEnded);
    const auto& lines = notes.lines;
    const auto position = [&](const std::string& line) {
      return std::find(lines.begin(), lines.end(), line) - lines.begin();
    };
    const bool one_first = position("waits1") < position("waits3");
    const std::string first = one_first ? "1" : "3";
    const std::string second = one_first ? "3" : "1";
    const std::vector<std::string> tail(lines.end() - 4, lines.end());
    ASSERT_EQ(tail, (std::vector<std::string>{"idle" + first, "ends" + first, "idle" + second, "ends" + second}))
        << "seed " << seed;
  }
}

TEST(Scheduler, IdleDoesNotWaitForTimers) {
  Machine machine;
  RandomWalk random;
  std::set<bool> fired_before;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Notes notes{machine, {}};
    machine.run(random, seed, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            Notes& mine = Notes::of(argument);
            mine.scheduler().arm(
                1000, [](void* context, std::uint64_t) { Notes::of(context).lines.push_back("timer"); }, argument, 0);
            mine.scheduler().wait_until_idle();
          },
          &notes);
    });
    fired_before.insert(!notes.lines.empty());
  }
  EXPECT_EQ(fired_before.size(), 2U) << "both orders are possible";
}

// A timer that is due may fire at every scheduling point behind arm(), or not before the end.
TEST(Scheduler, TheClockMayTickAtAnyPoint) {
  Machine machine;
  RandomWalk random;
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Notes notes{machine, {}};
    machine.run(random, seed, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            Notes& mine = Notes::of(argument);
            mine.scheduler().arm(
                1'000'000, [](void* context, std::uint64_t) { Notes::of(context).lines.push_back("t"); }, argument, 0);
            for (int i = 0; i < 3; ++i) {
              mine.scheduler().point({});
              mine.lines.push_back("p");
            }
          },
          &notes);
    });
    std::string word;
    for (const std::string& line : notes.lines) {
      word += line;
    }
    ++seen[word];
  }
  // At each point the clock is one of two: 1/2, 1/4, 1/8, and 1/8 for never.
  EXPECT_EQ(seen.size(), 4U);
  EXPECT_NEAR(seen["tppp"], 1000, 120);
  EXPECT_NEAR(seen["ptpp"], 500, 100);
  EXPECT_NEAR(seen["pptp"], 250, 80);
  EXPECT_NEAR(seen["ppp"], 250, 80);
}

// Sets itself again whenever it fires, and counts in which quarter of the execution.
struct Quarters {
  Machine& machine;
  std::array<int, 4> ticks{};
  int points = 0;
  static constexpr int kPoints = 200;

  static void fire(void* context, std::uint64_t) {
    auto& self = *static_cast<Quarters*>(context);
    ++self.ticks.at(static_cast<std::size_t>(self.points * 4 / kPoints));
    self.arm();
  }
  void arm() { machine.scheduler.arm(machine.scheduler.now() + 1, &fire, this, 0); }
};

TEST(Scheduler, APeriodicTimerFiresLateInAnExecutionToo) {
  Machine machine;
  RandomWalk random;
  constexpr int kExecutions = 400;
  std::array<int, 4> executions{};  // with a tick in that quarter
  for (std::uint64_t seed = 0; seed < kExecutions; ++seed) {
    Quarters quarters{machine};
    machine.run(random, seed, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            auto& self = *static_cast<Quarters*>(argument);
            self.arm();
            for (; self.points < Quarters::kPoints; ++self.points) {
              self.machine.scheduler.point({});
            }
            self.machine.scheduler.end(EndReason::kStopped);
          },
          &quarters);
    });
    for (std::size_t i = 0; i < executions.size(); ++i) {
      executions[i] += quarters.ticks[i] != 0 ? 1 : 0;
    }
  }
  for (const int count : executions) {
    EXPECT_GT(count, kExecutions / 4);
  }
}

TEST(Scheduler, TimersFireInDueOrderAndMoveTheClock) {
  Machine machine;
  RandomWalk random;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Notes notes{machine, {}};
    machine.run(random, seed, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            Notes& mine = Notes::of(argument);
            const auto note = [](void* context, std::uint64_t name) {
              Notes& here = Notes::of(context);
              EXPECT_EQ(here.scheduler().current().number, kClock);
              here.lines.push_back(std::to_string(name) + "@" + std::to_string(here.scheduler().now()));
              if (name == 4) {
                here.scheduler().make_runnable(1);
              }
            };
            mine.scheduler().arm(30, note, argument, 3);
            mine.scheduler().arm(10, note, argument, 1);
            const TimerId cancelled = mine.scheduler().arm(15, note, argument, 9);
            mine.scheduler().arm(30, note, argument, 4);
            mine.scheduler().arm(20, note, argument, 2);
            EXPECT_TRUE(mine.scheduler().disarm(cancelled));
            EXPECT_FALSE(mine.scheduler().disarm(cancelled));
            mine.scheduler().block(0);
          },
          &notes);
    });
    ASSERT_EQ(notes.lines, (std::vector<std::string>{"1@10", "2@20", "3@30", "4@30"}));
    std::vector<std::uint64_t> times;
    for (const Event& event : machine.events(EventKind::kTimePasses)) {
      ASSERT_EQ(event.thread, kClock);
      times.push_back(event.a);
    }
    ASSERT_EQ(times, (std::vector<std::uint64_t>{10, 20, 30, 30}));
  }
}

TEST(Scheduler, TheClockDoesNotGoBackForATimerInThePast) {
  Machine machine;
  RandomWalk random;
  machine.run(random, 1, [&] {
    machine.scheduler.spawn(
        ThreadRole::kTest,
        [](void* argument) {
          Scheduler& scheduler = scheduler_of(argument);
          const auto wake = [](void* context, std::uint64_t) { scheduler_of(context).make_runnable(1); };
          scheduler.arm(100, wake, argument, 0);
          scheduler.block(0);
          scheduler.arm(50, wake, argument, 0);
          scheduler.block(0);
        },
        &machine);
  });
  EXPECT_EQ(machine.scheduler.now(), 100U);
}

// A timer that was armed before the execution must not run while there is no thread whose stack it could end.
TEST(Scheduler, TimersFromOutsideMayStopTheExecution) {
  Machine machine;
  RandomWalk random;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const EndReason reason = machine.run(random, seed, [&] {
      machine.scheduler.arm(1, &stop_in_timer, &machine, 0);
      machine.scheduler.spawn(ThreadRole::kTest, &spin_for_ever, &machine);
      machine.scheduler.spawn(ThreadRole::kTest, &two_points, &machine);
    });
    ASSERT_EQ(reason, EndReason::kStopped);
  }
}

// --- Threads ----------------------------------------------------------------------------------------------------------

TEST(Scheduler, NumbersAreReusedAfterReturnButNotAfterExit) {
  Machine machine;
  RandomWalk random;
  struct Row {
    ThreadBody body;
    std::vector<ThreadNumber> numbers;
  };
  const Row rows[] = {{&two_points, {2, 2, 2}}, {&exit_early, {2, 3, 4}}};
  for (const Row& row : rows) {
    struct Shared {
      Machine& machine;
      ThreadBody body;
      std::vector<ThreadNumber> numbers;
    } shared{machine, row.body, {}};
    machine.run(random, 1, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            auto& mine = *static_cast<Shared*>(argument);
            for (int i = 0; i < 3; ++i) {
              mine.numbers.push_back(mine.machine.scheduler.spawn(ThreadRole::kSystem, mine.body, &mine.machine));
              mine.machine.scheduler.wait_until_idle();
            }
          },
          &shared);
    });
    EXPECT_EQ(shared.numbers, row.numbers);
  }
}

// What a strategy sees of a thread that has made no point yet is not what its predecessor of that number last did.
TEST(Scheduler, ANewThreadHasNoPendingOperation) {
  class Look final : public Strategy {
   public:
    std::string_view name() const override { return "look"; }
    void begin(std::uint64_t) override {}
    ThreadNumber pick(const Choices& choices) override {
      if (choices.runnable.size() == 2) {  // the spawner, at the point behind its spawn, and the new thread
        EXPECT_EQ(choices.pending[1].object, 1U);
        EXPECT_EQ(choices.pending[2].object, 0U);
        ++looked;
      }
      return choices.current;
    }
    std::uint32_t choose(std::uint32_t, ChoiceKind) override { return 0; }
    int looked = 0;
  } look;
  Machine machine;
  for (int execution = 0; execution < 2; ++execution) {
    machine.run(look, 0, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            for (int i = 0; i < 2; ++i) {
              const ThreadBody body = [](void* context) { scheduler_of(context).point({5, Access::kWrite, 77}); };
              scheduler_of(argument).spawn(ThreadRole::kTest, body, argument);
              scheduler_of(argument).point({4, Access::kWrite, 1});
              scheduler_of(argument).wait_until_idle();
            }
          },
          &machine);
    });
  }
  EXPECT_EQ(look.looked, 4);
}

// A timer routine runs on the stack of the thread that has just ended, and gives that thread's number to a new one.
TEST(Scheduler, ATimerRoutineMaySpawn) {
  Machine machine;
  RandomWalk random;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Notes notes{machine, {}};
    const EndReason reason = machine.run(random, seed, [&] {
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            Notes& mine = Notes::of(argument);
            mine.scheduler().arm(
                1,
                [](void* context, std::uint64_t) {
                  const ThreadNumber number = Notes::of(context).scheduler().spawn(
                      ThreadRole::kDpc,
                      [](void* inner) {
                        Notes& here = Notes::of(inner);
                        here.lines.push_back("dpc at " + std::to_string(here.scheduler().current().irql));
                        two_points(&here.machine);
                      },
                      context, 2);
                  Notes::of(context).lines.push_back("spawned " + std::to_string(number));
                },
                argument, 0);
          },
          &notes);
      machine.scheduler.spawn(
          ThreadRole::kTest,
          [](void* argument) {
            while (Notes::of(argument).lines.size() < 2) {
              Notes::of(argument).scheduler().wait_until_idle();
            }
          },
          &notes);
    });
    ASSERT_EQ(reason, EndReason::kAllEnded) << "seed " << seed;
    ASSERT_EQ(notes.lines.size(), 2U);
    ASSERT_TRUE(notes.lines[0] == "spawned 1" || notes.lines[0] == "spawned 3") << notes.lines[0];
    ASSERT_EQ(notes.lines[1], "dpc at 2");
  }
}

// --- Determinism ------------------------------------------------------------------------------------------------------

TEST(Scheduler, OneSeedOneHashHoweverManyExecutionsWereAbandonedBefore) {
  constexpr std::uint64_t kSeeds = 3000;
  Machine machine;
  BusyProgram program(machine);
  RandomWalk random;
  std::vector<trace::TraceHash> first;
  std::map<EndReason, int> reasons;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    ++reasons[machine.run(random, seed, [&] { program.prepare(); })];
    first.push_back(machine.recorder.hash());
  }
  EXPECT_GT(reasons[EndReason::kAllEnded], 500);
  EXPECT_GT(reasons[EndReason::kStopped], 500);
  EXPECT_EQ(reasons.size(), 2U);
  EXPECT_GT(std::set<trace::TraceHash>(first.begin(), first.end()).size(), kSeeds * 9 / 10);
  for (std::uint64_t seed = kSeeds; seed-- > 0;) {
    machine.run(random, seed, [&] { program.prepare(); });
    ASSERT_EQ(machine.recorder.hash(), first[seed]) << "seed " << seed;
  }
  for (const std::uint64_t seed : {std::uint64_t{0}, kSeeds / 2, kSeeds - 1}) {
    Machine fresh;
    BusyProgram again(fresh);
    fresh.run(random, seed, [&] { again.prepare(); });
    EXPECT_EQ(fresh.recorder.hash(), first[seed]) << "seed " << seed;
  }
}

TEST(Scheduler, ADecisionLogRepeatsItsExecution) {
  Machine machine;
  BusyProgram program(machine);
  RandomWalk random;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const EndReason reason = machine.run(random, seed, [&] { program.prepare(); });
    const trace::TraceHash hash = machine.recorder.hash();
    const std::vector<std::uint16_t> decisions = machine.decisions();
    Replay replay(decisions);
    ASSERT_EQ(machine.run(replay, 0, [&] { program.prepare(); }), reason) << "seed " << seed;
    ASSERT_EQ(machine.recorder.hash(), hash) << "seed " << seed;
    ASSERT_EQ(machine.decisions(), decisions) << "seed " << seed;
    ASSERT_FALSE(replay.diverged());
    ASSERT_EQ(replay.used(), decisions.size());
  }
}

// Runs a program twice under one seed and compares event by event, as shuttle's check for uncontrolled nondeterminism
// does. Returns the first event that differs, or -1.
template <class Prepare>
std::int64_t first_difference(Machine& machine, std::uint64_t seed, Prepare prepare) {
  RandomWalk random;
  machine.run(random, seed, prepare);
  const std::vector<Event> once = machine.events();
  machine.run(random, seed, prepare);
  const std::vector<Event> again = machine.events();
  for (std::size_t i = 0; i < std::max(once.size(), again.size()); ++i) {
    if (i >= once.size() || i >= again.size() || std::memcmp(&once[i], &again[i], sizeof(Event)) != 0) {
      return static_cast<std::int64_t>(i);
    }
  }
  return -1;
}

TEST(Scheduler, TwoRunsOfOneSeedAgreeEventByEvent) {
  Machine machine;
  BusyProgram program(machine);
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    ASSERT_EQ(first_difference(machine, seed, [&] { program.prepare(); }), -1) << "seed " << seed;
  }
}

TEST(Scheduler, StateThatSurvivesAnExecutionIsSeenAsADifference) {
  struct Leaky {
    Machine& machine;
    int runs = 0;
  };
  Machine machine;
  Leaky leaky{machine};
  EXPECT_NE(first_difference(machine, 1,
                             [&] {
                               machine.scheduler.spawn(
                                   ThreadRole::kTest,
                                   [](void* argument) {
                                     auto& mine = *static_cast<Leaky*>(argument);
                                     if (++mine.runs > 1) {
                                       mine.machine.scheduler.spawn(ThreadRole::kTest, &two_points, &mine.machine);
                                     }
                                     two_points(&mine.machine);
                                   },
                                   &leaky);
                             }),
            -1);
}

// Counts the questions, and hides that the inner strategy's picks are uniform.
class Counting final : public Strategy {
 public:
  std::string_view name() const override { return "counting"; }
  void begin(std::uint64_t seed) override {
    inner_.begin(seed);
    questions = 0;
  }
  ThreadNumber pick(const Choices& choices) override {
    EXPECT_GE(choices.runnable.size(), 2U);
    ++questions;
    return inner_.pick(choices);
  }
  std::uint32_t choose(std::uint32_t alternatives, ChoiceKind kind) override {
    EXPECT_GE(alternatives, 2U);
    ++questions;
    return inner_.choose(alternatives, kind);
  }
  std::uint32_t questions = 0;

 private:
  RandomWalk inner_;
};

// No draw is hidden from the log, none is made where there is one answer, and the scheduler's own drawing for a uniform
// strategy is what that strategy would have answered.
TEST(Scheduler, EveryDrawIsADecisionInTheLog) {
  Machine machine;
  BusyProgram program(machine);
  RandomWalk random;
  Counting counting;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    machine.run(counting, seed, [&] { program.prepare(); });
    ASSERT_EQ(counting.questions, machine.scheduler.decisions());
    const trace::TraceHash hash = machine.recorder.hash();
    machine.run(random, seed, [&] { program.prepare(); });
    ASSERT_EQ(machine.recorder.hash(), hash) << "seed " << seed;
  }
}

TEST(Scheduler, AChoiceOfOneAsksNobody) {
  Machine machine;
  Counting counting;
  machine.run(counting, 1, [&] {
    machine.scheduler.spawn(
        ThreadRole::kTest,
        [](void* argument) {
          EXPECT_EQ(scheduler_of(argument).choose(1, ChoiceKind::kFault), 0U);
          EXPECT_EQ(scheduler_of(argument).choose(0, ChoiceKind::kFault), 0U);
        },
        &machine);
  });
  EXPECT_EQ(counting.questions, 0U);
}

}  // namespace
}  // namespace nmrfuzz::schedule
