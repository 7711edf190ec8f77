#include "schedule/run_to_completion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "schedule/scheduler_fixture.h"

namespace nmrfuzz::schedule {
namespace {

// Threads that write their letter after each of several points.
struct Letters {
  Machine machine;
  RunToCompletion strategy;
  std::string word;

  std::string run(std::uint64_t seed, std::initializer_list<ThreadBody> bodies) {
    word.clear();
    machine.run(strategy, seed, [&] {
      for (const ThreadBody body : bodies) {
        machine.scheduler.spawn(ThreadRole::kTest, body, this);
      }
    });
    return word;
  }
  static Letters& of(void* argument) { return *static_cast<Letters*>(argument); }
};

constexpr int kPoints = 4;

template <char kLetter>
void write(void* argument) {
  for (int i = 0; i < kPoints; ++i) {
    Letters::of(argument).machine.scheduler.point({});
    Letters::of(argument).word += kLetter;
  }
}
void yield(void* argument, std::uint32_t times) {
  for (std::uint32_t i = 0; i < times; ++i) {
    Letters::of(argument).machine.scheduler.yield({});
  }
}
void write_and_yield(void* argument) {
  yield(argument, RunToCompletion::kYields - 1);
  Letters::of(argument).word += 'y';
  yield(argument, 1);
  Letters::of(argument).word += 'Y';
}
// Nobody is there to give way to; the thread that it starts then has to wait.
void yield_alone_then_spawn(void* argument) {
  Scheduler& scheduler = Letters::of(argument).machine.scheduler;
  yield(argument, RunToCompletion::kYields);
  scheduler.spawn(ThreadRole::kTest, &write<'B'>, argument);
  write<'A'>(argument);
}
void write_t(void* argument, std::uint64_t) { Letters::of(argument).word += 't'; }
void arm_then_write(void* argument) {
  Scheduler& scheduler = Letters::of(argument).machine.scheduler;
  scheduler.arm(1, &write_t, argument, 0);
  write<'A'>(argument);
}
void arm_then_yield(void* argument) {
  Scheduler& scheduler = Letters::of(argument).machine.scheduler;
  scheduler.arm(1, &write_t, argument, 0);
  write_and_yield(argument);
}
void spin_for_letter(void* argument) {
  while (Letters::of(argument).word.empty()) {
    Letters::of(argument).machine.scheduler.point({});
  }
  Letters::of(argument).word += 's';
}

TEST(RunToCompletion, NobodyIsPreemptedAndEachOrderIsAsLikely) {
  constexpr int kSeeds = 6000;
  constexpr double kExpected = kSeeds / 6.0;
  Letters letters;
  std::map<std::string, int> words;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    ++words[letters.run(seed, {&write<'A'>, &write<'B'>, &write<'C'>})];
  }
  EXPECT_EQ(words.size(), 6U) << "there are no more orders of three threads";
  for (const char* word :
       {"AAAABBBBCCCC", "AAAACCCCBBBB", "BBBBAAAACCCC", "BBBBCCCCAAAA", "CCCCAAAABBBB", "CCCCBBBBAAAA"}) {
    EXPECT_NEAR(words[word], kExpected, 5 * std::sqrt(kExpected)) << word;
  }
}

TEST(RunToCompletion, WhoGoesOnYieldingLetsOthersGoFirst) {
  Letters letters;
  std::set<std::string> words;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    words.insert(letters.run(seed, {&write_and_yield, &write<'A'>}));
  }
  EXPECT_EQ(words, (std::set<std::string>{"AAAAyY", "yAAAAY"})) << "few yields are none";
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    EXPECT_EQ(letters.run(seed, {&yield_alone_then_spawn}), "AAAABBBB") << "an old yield became a preemption";
  }
}

TEST(RunToCompletion, TimePassesForThoseWhoWait) {
  Letters letters;
  std::set<std::string> words;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const std::string word = letters.run(seed, {&arm_then_write, &write<'B'>});
    EXPECT_EQ(word.find('t'), std::string::npos) << word << ": a timer fired while threads could run";
    words.insert(letters.run(seed, {&arm_then_yield}));
  }
  EXPECT_EQ(words, (std::set<std::string>{"ytY"})) << "the clock is the only other";
}

TEST(RunToCompletion, WhoSpinsGivesWayInTheEnd) {
  Letters letters;
  std::set<std::string> words;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    words.insert(letters.run(seed, {&spin_for_letter, &write<'A'>}));
  }
  EXPECT_EQ(words, (std::set<std::string>{"AAAAs"}));
}

TEST(RunToCompletion, OneSeedOneExecutionWhateverCameBefore) {
  constexpr std::uint64_t kSeeds = 1000;
  Machine machine;
  BusyProgram program(machine);
  RunToCompletion strategy;
  std::vector<trace::TraceHash> first;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    machine.run(strategy, seed, [&] { program.prepare(); });
    first.push_back(machine.recorder.hash());
  }
  EXPECT_GT(std::set<trace::TraceHash>(first.begin(), first.end()).size(), kSeeds / 2);
  for (std::uint64_t seed = kSeeds; seed-- > 0;) {
    machine.run(strategy, seed, [&] { program.prepare(); });
    ASSERT_EQ(machine.recorder.hash(), first[seed]) << "seed " << seed;
  }
}

}  // namespace
}  // namespace nmrfuzz::schedule
